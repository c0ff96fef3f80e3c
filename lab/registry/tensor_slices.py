"""TensorFlow's checkpoints of version 1, read without TensorFlow: one file, as ``vggish_model.ckpt`` is.

The file is a table (``lab.registry.sstable``) of SavedTensorSlices messages: at the empty key the names, shapes and
dtypes of all variables, at each other key a variable's values as a TensorProto (tensorflow/core/util/
saved_tensor_slice.proto). Nothing but numbers is read: variables of other types are left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import CheckpointError
from lab.registry.messages import Buffer, Fields, fields_of, number_of, piece_of, shape_of, text_of
from lab.registry.sstable import WireReader, ends_as_table, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

# By the numbers of tensorflow/core/framework/types.proto: our dtype, and the field of TensorProto with the values.
_FLOATS = {1: ("float32", 5), 2: ("float64", 6)}
_INTEGERS = {3: ("int32", 7), 4: ("uint8", 7), 5: ("int16", 7), 6: ("int8", 7), 9: ("int64", 10), 10: ("bool", 11)}


def find_slices(path: Path) -> bool:
    """Return whether a file is a table: such a checkpoint, if it is one of weights."""
    with path.open("rb") as file:
        return ends_as_table(file)


def read_slices(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name.

    Raises:
        CheckpointError: the file is damaged, or holds what is not read: variables in slices, a compressed table.
    """
    return read_tensors(path, _parse)


def _parse(table: dict[bytes, bytes]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors, and the names of what is left out."""
    dtypes, shapes, left = _read_names(table.pop(b"", b""))
    return _read_values(table, dtypes, shapes), left


def _read_names(data: bytes) -> tuple[dict[str, int], dict[str, tuple[int, ...]], list[str]]:
    """Return dtype and shape of each variable, and the names of what is left out."""
    dtypes: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    left: list[str] = []
    for meta in fields_of(data, "the list of variables").get(1, []):
        for variable in fields_of(piece_of(meta, "the list of variables"), "the list of variables").get(1, []):
            fields = fields_of(piece_of(variable, "a variable"), "a variable")
            name, number = text_of(fields.get(1, [b""])[-1]), number_of(fields, 3)
            if len(fields.get(4, [])) != 1 or not _is_whole(fields[4][0], name):
                raise CheckpointError(f"{name[:80]} is a variable in slices, which is not read; save it whole")
            if number not in _FLOATS and number not in _INTEGERS:
                left.append(name)
                continue
            dtypes[name], shapes[name] = number, shape_of(fields.get(2, []), name)
    if not dtypes and not left:
        raise CheckpointError("it lists no variables: it is no checkpoint of TensorFlow")
    return dtypes, shapes, left


def _is_whole(message: int | Buffer, name: str) -> bool:
    """Whether a slice has no limits on any axis."""
    extents = fields_of(piece_of(message, name), name).get(1, [])
    return all(2 not in fields_of(piece_of(extent, name), name) for extent in extents)


def _read_values(
    table: Mapping[bytes, bytes], dtypes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for value in table.values():
        for message in fields_of(memoryview(value), "an entry").get(2, []):
            fields = fields_of(piece_of(message, "an entry"), "an entry")
            name = text_of(fields.get(1, [b""])[-1])
            if name in found:
                raise CheckpointError(f"{name[:80]} has values twice")
            if name in dtypes:
                content = fields_of(piece_of(fields.get(3, [b""])[-1], name), name)
                found[name] = _tensor(content, dtypes[name], shapes[name], name)
    lacking = sorted(set(dtypes) - set(found))
    if lacking:
        raise CheckpointError(f"{lacking[0][:80]} has no values")
    return {name: found[name] for name in dtypes}


def _tensor(content: Fields, number: int, shape: tuple[int, ...], name: str) -> Tensor:
    """Return the values of a TensorProto."""
    import torch

    dtype_name, field = (_FLOATS | _INTEGERS)[number]
    dtype, count = getattr(torch, dtype_name), math.prod(shape)
    pieces = [piece_of(piece, name) for piece in content.get(field, [])]
    if number in _FLOATS:
        flat = torch.frombuffer(bytearray(b"".join(pieces)), dtype=dtype) if pieces else torch.empty(0, dtype=dtype)
    else:
        flat = torch.tensor([value for piece in pieces for value in _integers(piece, name)]).to(dtype)
    if len(flat) != count:
        raise CheckpointError(f"{name[:80]} has {len(flat)} values, its shape {list(shape)} needs {count}")
    return flat.view(shape)


def _integers(piece: Buffer, name: str) -> list[int]:
    reader, found = WireReader(piece, name[:80]), []
    while not reader.is_at_end:
        value = reader.varint()
        found.append(value - (1 << 64) if value >> 63 else value)
    return found
