"""Reads and writes physicsnemo's ``.mdlus`` files: a zip of weights, constructor arguments and versions.

Nothing is executed: of the weights only tensors are constructed, and the class that the file names is not imported.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS, _ARGUMENTS, _VERSIONS = "model.pt", "args.json", "metadata.json"
_MOST_BYTES = 1 << 36  # 64 GiB of weights
_MOST_TEXT = 1 << 20
_MOST_GAIN = 20  # weights hardly compress: more is a file that is made to fill the memory
_MOST_MEMBERS = 64
_VERSION = "0.1.0"


def read_mdlus(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Args:
        path: the file.
        device: where they are put; ``"meta"`` for names, shapes and dtypes alone.

    Raises:
        CheckpointError: it is no such zip, is damaged, or unpacks to more than it may.
    """
    import torch

    with _opened(path) as archive:
        content = _member(archive, _WEIGHTS, path, _MOST_BYTES)
        arguments = _text(archive, _ARGUMENTS, path)
    if not isinstance(arguments.get("__name__"), str):
        raise CheckpointError(f"weights {path}: {_ARGUMENTS} names no class of physicsnemo")
    try:
        found = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # zipfile, pickle and torch each have their own errors for a bad file
        raise CheckpointError(
            f"weights {path}: {_WEIGHTS} cannot be read as tensors alone ({reason_of(error)})"
        ) from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"weights {path}: {_WEIGHTS} holds a {type(found).__name__}, and no tensors by name")
    return dict(found)


def read_mdlus_arguments(path: Path) -> dict[str, Any]:
    """Return the arguments with which the network of a file was built, as physicsnemo names them.

    Raises:
        CheckpointError: as ``read_mdlus``.
    """
    with _opened(path) as archive:
        found = _text(archive, _ARGUMENTS, path).get("__args__")
    if not isinstance(found, dict):
        raise CheckpointError(f"weights {path}: {_ARGUMENTS} has no arguments")
    return found


def write_mdlus(path: Path, state: Mapping[str, Tensor], name: str, module: str, arguments: Mapping[str, Any]) -> None:
    """Write tensors as physicsnemo reads them.

    Args:
        path: the file.
        state: the tensors by name.
        name: the name of physicsnemo's class.
        module: its module there.
        arguments: of its constructor.
    """
    import torch

    weights = io.BytesIO()
    torch.save({key: value.detach().clone() for key, value in state.items()}, weights)
    made = {"__name__": name, "__module__": module, "__args__": dict(arguments)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_WEIGHTS, weights.getvalue())
        archive.writestr(_ARGUMENTS, json.dumps(made))
        archive.writestr(_VERSIONS, json.dumps({"mdlus_file_version": _VERSION}))


def _opened(path: Path) -> zipfile.ZipFile:
    import tarfile

    try:
        if tarfile.is_tarfile(path):
            raise CheckpointError(
                f"weights {path} are a tar archive, as older versions of physicsnemo wrote; load and save them there "
                "once more, which writes a zip"
            )
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"weights {path} are no .mdlus zip ({reason_of(error)})") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path, most: int) -> bytes:
    """Return the bytes of a member that is there once and no larger than it may be."""
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise CheckpointError(f"weights {path} hold {len(infos)} files, and no .mdlus has more than {_MOST_MEMBERS}")
    found = [info for info in infos if info.filename == name]
    if len(found) != 1:
        raise CheckpointError(f"weights {path} hold {name} {len(found)} times, where a .mdlus has it once")
    size, packed = found[0].file_size, found[0].compress_size
    if size > most or size > _MOST_GAIN * packed + _MOST_TEXT:
        raise CheckpointError(f"weights {path}: {name} unpacks from {packed} to {size} bytes, which no such file does")
    try:
        with archive.open(found[0]) as stream:
            content = stream.read(size + 1)  # a member may be longer than it says
    except Exception as error:  # zipfile, zlib and lzma each have their own errors; an encrypted member is one more
        raise CheckpointError(f"weights {path}: {name} cannot be unpacked ({reason_of(error)})") from error
    if len(content) != size:
        raise CheckpointError(f"weights {path}: {name} is not of the size that the archive says")
    return content


def _text(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_member(archive, name, path, _MOST_TEXT))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"weights {path}: {name} is no JSON ({reason_of(error)})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"weights {path}: {name} is a {type(found).__name__}, and no names with values")
    return found
