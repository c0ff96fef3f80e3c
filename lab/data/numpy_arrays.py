"""Arrays in NumPy's files, ``.npy`` and ``.npz``. Arrays of objects, which are pickles, are never opened."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lab.checking import check_file
from lab.data.memory import require_memory
from lab.errors import DataError, closest
from lab.system.files import archive_in


def read_array(path: Path) -> npt.NDArray[Any]:
    """Return the array of an ``.npy`` file, or one of an ``.npz`` (``digits.npz/x_train``).

    Raises:
        DataError: there is none, it is damaged, or it holds objects.
    """
    found = archive_in(path)
    if found is None:
        raise DataError(f"there is no {path}; data.root names the folder of the arrays")
    file, inside = found
    try:
        if not zipfile.is_zipfile(file):
            if inside:
                raise DataError(f"there is no {path}: {file.name} is one array, of no .npz")
            with file.open("rb") as stream:
                return _read(stream, file.stat().st_size, path)
        with zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if inside not in names:
                which = f"no array {inside!r}" if inside else "several arrays"
                listed = ", ".join(f"{file.name}/{name}" for name in names[:5]) or "nothing"
                raise DataError(f"{file}: it holds {which}: name one of {listed}{closest(inside, names)}")
            info = archive.getinfo(archive.namelist()[names.index(inside)])
            with archive.open(info) as stream:
                return _read(stream, info.file_size, path)
    except DataError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        SyntaxError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        MemoryError,
    ) as error:
        words = " ".join(str(error).split())[:160]
        raise DataError(f"{path} cannot be read as an array of NumPy: {words or type(error).__name__}") from error


def _read(stream: IO[bytes], size: int, path: Path) -> npt.NDArray[Any]:
    """Return the array of a stream of ``size`` bytes, whose header is believed only as far as there are bytes."""
    version = np.lib.format.read_magic(stream)
    head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = head(stream)
    if dtype.hasobject:
        raise DataError(f"{path}: it holds objects, which are a pickle and never opened: save it as plain numbers")
    needed, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if needed != held:
        raise DataError(f"{path}: its header says {shape} of {dtype}, {needed} bytes, and it holds {held}")
    require_memory(path, needed, f"its {shape} of {dtype}")
    array = np.frombuffer(bytearray(stream.read(needed)), dtype=dtype)
    if len(array) != math.prod(shape):
        raise DataError(f"{path}: it ends early")
    return array.reshape(shape[::-1]).transpose() if fortran else array.reshape(shape)


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays of an ``.npz``; an empty list for an ``.npy``, which is one array.

    Raises:
        DataError: there is no such file, or it is neither.
    """
    check_file(path, may_be_empty=False)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                return []
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:160]}") from error
    raise DataError(f"{path}: neither an .npz nor an .npy of NumPy")
