"""Weights in several files, loaded file by file: no more than one of them is in memory beside the network.

``Shards`` is what a layout of such files offers: names, shapes and dtypes at once, values file by file. The converter
of an architecture sees tensors without values (on the meta device) first; what it renames, drops or cuts is then done
with each file's values. Nothing is changed in the network before every name and shape was checked.

Layouts: safetensors with an index (``model.safetensors.index.json`` of transformers), and what the ``shards_of`` of an
architecture's ``weights.py`` recognises.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)
INDEX = "model.safetensors.index.json"
"""The file that names the shard of each tensor, as transformers writes it."""
_SUFFIX = ".safetensors.index.json"


class Shards(Protocol):
    """Tensors by name in several files."""

    def handles(self) -> dict[str, Tensor]:
        """Return all tensors without their values, on the meta device.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        ...

    def parts(self) -> Iterator[dict[str, Tensor]]:
        """Yield the tensors of one file after the other.

        Raises:
            CheckpointError: a file is damaged.
        """
        ...


class IndexedShards:
    """Safetensors with an index.

    Args:
        index: the file ``*.safetensors.index.json``; the shards stand beside it.

    Raises:
        CheckpointError: it cannot be read, or a shard is missing.
    """

    def __init__(self, index: Path) -> None:
        self.index = index
        self._keys: dict[Path, list[str]] = {}
        for key, name in _weight_map(index).items():
            self._keys.setdefault(index.parent / name, []).append(key)
        missing = [file.name for file in self._keys if not file.is_file()]
        if missing:
            raise CheckpointError(
                f"weights {index}: {len(missing)} of {len(self._keys)} shards are missing: {', '.join(missing[:4])}"
            )

    def handles(self) -> dict[str, Tensor]:
        """See ``Shards``; only the heads of the files are read."""
        found: dict[str, Tensor] = {}
        for file, keys in self._keys.items():
            found |= self._read(file, keys, values=False)
        return found

    def parts(self) -> Iterator[dict[str, Tensor]]:
        """See ``Shards``."""
        for file, keys in self._keys.items():
            yield self._read(file, keys, values=True)

    def _read(self, file: Path, keys: list[str], values: bool) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="pt") as opened:
                absent = sorted(set(keys) - set(opened.keys()))
                if absent:
                    raise CheckpointError(f"weights {file}: {absent[0]!r} is not in it, but {self.index.name} says so")
                return {key: opened.get_tensor(key) if values else _handle(opened.get_slice(key)) for key in keys}
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"weights {file} are damaged or incomplete ({reason_of(error)})") from error


def find_index(path: Path) -> Path | None:
    """Return the index of sharded safetensors that a path names: the file itself, or the folder that it is in."""
    if path.is_dir():
        return path / INDEX if (path / INDEX).is_file() else None
    return path if path.name.endswith(_SUFFIX) else None


def open_shards(path: Path, layouts: object = None) -> Shards | None:
    """Return the shards that a path names; None where it names none.

    Args:
        path: a folder, or an index.
        layouts: the module ``weights`` of an architecture; its function ``shards_of(folder)``, if any, is asked too.

    Raises:
        CheckpointError: the index cannot be read, or a shard is missing.
    """
    index = find_index(path)
    if index is not None:
        return IndexedShards(index)
    known = getattr(layouts, "shards_of", None)
    found: Shards | None = known(path) if known is not None and path.is_dir() else None
    return found


def sources_of(state: Mapping[str, Tensor], handles: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]] | None:
    """Return what becomes of each handle: views of it by their final names; None if they were computed with.

    Args:
        state: what a converter has made of the handles.
        handles: as ``Shards`` gives them.
    """
    from lab.compat.torch import storage_id

    names = {storage_id(handle): name for name, handle in handles.items()}
    found: dict[str, dict[str, Tensor]] = {}
    for name, view in state.items():
        source = names.get(storage_id(view))
        if source is None or view.dtype != handles[source].dtype:
            return None
        found.setdefault(source, {})[name] = view
    return found


def fill(model: nn.Module, shards: Shards, sources: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Load values file by file.

    Args:
        model: the network, which has a tensor of the right shape for each final name.
        shards: the files.
        sources: see ``sources_of``.
    """
    for part in shards.parts():
        state = {
            name: tensor.as_strided(view.shape, view.stride(), view.storage_offset())
            for key, tensor in part.items()
            for name, view in sources.get(key, {}).items()
        }
        model.load_state_dict(state, strict=False)
        del part, state  # before the next file is opened


def join(shards: Shards) -> dict[str, Tensor]:
    """Return the tensors of all files at once."""
    return {key: tensor for part in shards.parts() for key, tensor in part.items()}


def _handle(piece: object) -> Tensor:
    """Return an empty tensor on the meta device like a tensor in a safetensors file."""
    import torch

    shape, name = piece.get_shape(), piece.get_dtype()  # type: ignore[attr-defined]
    if name not in _DTYPES:
        raise CheckpointError(f"a tensor of the dtype {name}: expected one of {', '.join(_DTYPES)}")
    return torch.empty(shape, dtype=getattr(torch, _DTYPES[name]), device="meta")


_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def _weight_map(index: Path) -> dict[str, str]:
    """Return the file name of each tensor."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"weights {index}: expected JSON with a 'weight_map' ({reason_of(error)})") from error
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"weights {index}: its 'weight_map' names no tensors")
    for key, name in found.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"weights {index}: {key[:80]!r} is said to be in {str(name)[:80]!r}, no shard beside it"
            )
    return found
