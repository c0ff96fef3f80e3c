"""TensorFlow's checkpoints of version 2, read without TensorFlow: ``PREFIX.index`` and ``PREFIX.data-00000-of-00001``.

The index is a table (``lab.registry.sstable``) of protobuf messages: at the empty key a BundleHeaderProto, at each
tensor's name a BundleEntryProto with dtype, shape, place and masked CRC-32C (tensorflow/core/protobuf/
tensor_bundle.proto). Nothing but numbers is read: strings are left out and counted.
"""

from __future__ import annotations

import math
import mmap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import CheckpointError
from lab.registry.messages import fields_of, number_of, shape_of, text_of
from lab.registry.sstable import read_tensors

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".index"
# The numbers of tensorflow/core/framework/types.proto.
_DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
_STRING = 7


@dataclass(frozen=True)
class _Entry:
    """A tensor in the index: its dtype's name, shape, file, and place in it."""

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def find_bundle(path: Path) -> Path | None:
    """Return the index of the checkpoint that a path names: itself, a file of data, or their prefix; None: no such."""
    if path.suffix != SUFFIX:
        prefix, of_data, _ = path.name.partition(".data-")
        if not prefix or (path.is_file() and not of_data):
            return None
        path = path.with_name(prefix + SUFFIX)
    return path if path.is_file() else None


def read_bundle(index: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name.

    They are views of the files' pages, so that they take memory only where they are read; changing one changes no file.

    Args:
        index: the file ``PREFIX.index``; the files of data stand beside it.

    Raises:
        CheckpointError: a file is missing or damaged, or holds what is not read: variables in slices, another byte
            order, a compressed index.
    """

    def parse(table: dict[bytes, bytes]) -> tuple[dict[str, Tensor], list[str]]:
        num_shards = _check_header(table.pop(b"", b""))
        entries, left = _read_entries(table)
        return _read_tensors(index, entries, num_shards), left

    return read_tensors(index, parse)


def _check_header(data: bytes) -> int:
    """Return the number of files."""
    header = fields_of(data, "the header")
    if not header:
        raise CheckpointError("its index has no header")
    if number_of(header, 2):
        raise CheckpointError("it was written on a big-endian machine, which is not read")
    num_shards = number_of(header, 1)
    if not 1 <= num_shards <= 100_000:
        raise CheckpointError(f"its header names {num_shards} files of data")
    return num_shards


def _read_entries(table: Mapping[bytes, bytes]) -> tuple[dict[str, _Entry], list[str]]:
    """Return the tensors, and the names of what is left out."""
    entries: dict[str, _Entry] = {}
    left: list[str] = []
    for key, value in table.items():
        name = text_of(key)
        fields = fields_of(value, name[:80])
        if 7 in fields:
            raise CheckpointError(f"{name[:80]} is a variable in slices, which is not read; save it whole")
        number = number_of(fields, 1)
        if number == _STRING:
            left.append(name)
            continue
        if number not in _DTYPES:
            raise CheckpointError(f"{name[:80]} has the dtype {number} of TensorFlow, which is not read")
        places = [number_of(fields, field) for field in (3, 4, 5, 6)]
        entries[name] = _Entry(_DTYPES[number], shape_of(fields.get(2, []), name), *places)
    return entries, left


def _read_tensors(index: Path, entries: Mapping[str, _Entry], num_shards: int) -> dict[str, Tensor]:
    by_shard: dict[int, list[str]] = defaultdict(list)
    for name, entry in entries.items():
        if entry.shard >= num_shards:
            raise CheckpointError(f"{name[:80]} is in file {entry.shard} of {num_shards}")
        by_shard[entry.shard].append(name)
    tensors: dict[str, Tensor] = {}
    for shard, names in sorted(by_shard.items()):
        file = index.with_name(f"{index.name.removesuffix(SUFFIX)}.data-{shard:05d}-of-{num_shards:05d}")
        if not file.is_file():
            raise CheckpointError(f"{file.name} is missing beside it")
        with file.open("rb") as opened:
            length = file.stat().st_size
            content: mmap.mmap | bytearray = (
                mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY) if length else bytearray()
            )
        _check_places(file, names, entries, length)
        for name in names:
            tensors[name] = _tensor(content, entries[name], name, file)
    return {name: tensors[name] for name in entries}


def _check_places(file: Path, names: Iterable[str], entries: Mapping[str, _Entry], length: int) -> None:
    """Refuse tensors beyond the end, or that share bytes: an index could name a small file a million times."""
    import torch

    end = 0
    for name in sorted(names, key=lambda name: (entries[name].offset, entries[name].size)):
        entry = entries[name]
        needed = math.prod(entry.shape) * getattr(torch, entry.dtype).itemsize
        if entry.size != needed:
            raise CheckpointError(f"{name[:80]} has {entry.size} bytes, its shape {list(entry.shape)} needs {needed}")
        if entry.offset + entry.size > length:
            raise CheckpointError(
                f"{file.name} is cut off: {name[:80]} ends at {entry.offset + entry.size} of {length}"
            )
        if entry.offset < end and entry.size:
            raise CheckpointError(f"{name[:80]} lies over another tensor")
        end = max(end, entry.offset + entry.size)


def _tensor(content: mmap.mmap | bytearray, entry: _Entry, name: str, file: Path) -> Tensor:
    import torch

    from lab.system.crc32c import crc32c, unmasked  # imports numpy, which no command line needs

    dtype = getattr(torch, entry.dtype)
    view = memoryview(content)[entry.offset : entry.offset + entry.size]
    if crc32c(view) != unmasked(entry.checksum):
        raise CheckpointError(f"{name[:80]} in {file.name} is damaged: its checksum differs")
    if not entry.size:
        return torch.empty(entry.shape, dtype=dtype)
    aligned = entry.offset % dtype.itemsize == 0
    flat = torch.frombuffer(content if aligned else bytearray(view), dtype=torch.uint8)
    if aligned:
        flat = flat[entry.offset : entry.offset + entry.size]
    return flat.view(dtype).view(entry.shape)
