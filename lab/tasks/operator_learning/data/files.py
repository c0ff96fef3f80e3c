"""Fields in the files of benchmarks: neuralop's ``.pt`` (PyTorch), PDEBench's ``.hdf5``. No code of a file is run."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lab.checking import check_file
from lab.checkpoint.unpickling import reason_of
from lab.data.memory import require_memory
from lab.errors import ConfigError, DataError, closest
from lab.tasks.operator_learning.data.checks import require_numbers

FieldArray = npt.NDArray[Any]
HDF5 = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Return whether a file is of HDF5, by its first bytes.

    Raises:
        DataError: there is no such file, or it is empty.
    """
    check_file(path, may_be_empty=False)
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def read_pt(path: Path, keys: Sequence[str]) -> dict[str, FieldArray]:
    """Return tensors of a ``.pt`` file, a dict of tensors by name.

    Args:
        path: the file.
        keys: the names; all of them must be there.

    Raises:
        DataError: it cannot be read without running code, is no such dict, or lacks a name; or a tensor has values that
            are no finite numbers.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a file of PyTorch: {reason_of(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), torch.Tensor) for key in keys):
        found = [str(key) for key in content] if isinstance(content, dict) else []
        raise DataError(_lacks(path, keys, found))
    arrays = {key: _plain(content[key], f"{path}: {key}") for key in keys}
    for key, array in arrays.items():
        require_axes(array.shape, f"{path}: {key}")
        require_numbers(array, f"{path}: {key}")
    return arrays


def _plain(tensor: torch.Tensor, where: str) -> FieldArray:
    """Return a tensor as an array; one that claims more numbers than it holds would fill the memory."""
    if tensor.layout is not torch.strided:
        raise DataError(f"{where}: it is a tensor of {tensor.layout}: save it as a plain one")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise DataError(f"{where}: it is a tensor of the shape {tuple(tensor.shape)}, and the file holds fewer numbers")
    try:
        return np.asarray(tensor.detach().numpy())
    except (TypeError, RuntimeError) as error:
        raise DataError(f"{where}: it is a tensor of {tensor.dtype}, which NumPy has not: save float32") from error


def read_hdf5(path: Path, keys: Sequence[str], every: Mapping[str, tuple[int, ...]]) -> dict[str, FieldArray]:
    """Return datasets of an HDF5 file.

    Args:
        path: the file.
        keys: the names; all of them must be there.
        every: by name, for each axis: every so many entries are read; the last axes' where there are fewer numbers.

    Raises:
        ConfigError: h5py is not installed.
        DataError: it is damaged or lacks a name, does not fit into memory, or has values that are no finite numbers.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(f"{path} is of HDF5, which h5py reads: pip install 'lab[fields]'") from error
    try:
        with h5py.File(path, "r") as file:
            if not all(isinstance(file.get(key), h5py.Dataset) for key in keys):
                raise DataError(_lacks(path, keys, list(file)))
            found = {}
            for key in keys:
                stored = file[key]
                steps = every.get(key, ())[-stored.ndim :] if stored.ndim else ()
                chosen = tuple(slice(None, None, step) for step in (1,) * (stored.ndim - len(steps)) + tuple(steps))
                count = int(np.prod([-(-n // (part.step or 1)) for n, part in zip(stored.shape, chosen, strict=True)]))
                require_memory(path, count * stored.dtype.itemsize, f"{count} numbers of {key!r}")
                found[key] = np.asarray(stored[chosen])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as HDF5: {' '.join(str(error).split())[:160]}") from error
    for key, array in found.items():
        require_numbers(array, f"{path}: {key}")
    return found


def hdf5_shape(path: Path, key: str) -> tuple[int, ...]:
    """Return the shape of a dataset of an HDF5 file; see ``read_hdf5`` for what is refused.

    Raises:
        DataError: see there; or it has fewer than two axes.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(f"{path} is of HDF5, which h5py reads: pip install 'lab[fields]'") from error
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get(key), h5py.Dataset):
                raise DataError(_lacks(path, [key], list(file)))
            shape = tuple(int(size) for size in file[key].shape or ())
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5: {' '.join(str(error).split())[:160]}") from error
    require_axes(shape, f"{path}: {key}")
    return shape


def require_axes(shape: Sequence[int], where: str) -> None:
    """Refuse an array of fewer than two axes, which holds no fields.

    Raises:
        DataError: see above.
    """
    if len(shape) < 2:
        raise DataError(f"{where}: its shape is {tuple(shape)}: it holds no fields")


def _lacks(path: Path, keys: Sequence[str], found: Sequence[str]) -> str:
    missing = [key for key in keys if key not in found]
    has = ", ".join(found[:6]) or "nothing by name"
    what = ", ".join(map(repr, missing or keys))
    return f"{path}: there is no array {what} in it; it has {has}{closest(missing[0], found) if missing else ''}"


def hash_of(*arrays: FieldArray) -> str:
    """Return a hash of arrays: their shapes and their values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def stride_to(points: int, wanted: int | None, path: Path, key: str) -> int:
    """Return every how many points an axis is read, so that ``wanted`` points are left of ``points``.

    Raises:
        DataError: there are fewer, or no multiple.
    """
    if wanted is None or wanted == points:
        return 1
    if points % wanted:
        fits = [points // step for step in range(1, points + 1) if points % step == 0 and points // step > 3]
        raise DataError(
            f"{path}: an axis has {points} points, and data.{key}={wanted} is not among what every n-th of them gives: "
            f"{', '.join(map(str, fits[:6]))}"
        )
    return points // wanted
