"""Messages of protobuf, taken apart without their definitions, as TensorFlow's checkpoints have them."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping

from lab.errors import CheckpointError
from lab.registry.sstable import WireReader

Buffer = bytes | memoryview
Fields = Mapping[int, list[int | Buffer]]


def fields_of(data: Buffer, what: str) -> dict[int, list[int | Buffer]]:
    """Return the fields of a message by number: integers, and nested messages and strings as pieces of ``data``.

    Raises:
        CheckpointError: it is no message.
    """
    reader, found = WireReader(data, what), defaultdict[int, list[int | Buffer]](list)
    while not reader.is_at_end:
        tag = reader.varint()
        kind = tag & 7
        if kind == 0:
            value: int | Buffer = reader.varint()
        elif kind == 2:
            value = reader.take(reader.varint())
        elif kind in (1, 5):
            value = struct.unpack("<Q" if kind == 1 else "<I", reader.take(8 if kind == 1 else 4))[0]
        else:
            raise CheckpointError(f"{what} is no message: a field of kind {kind}")
        found[tag >> 3].append(value)
    return dict(found)


def number_of(fields: Fields, field: int) -> int:
    """Return a number; the last one counts, 0 if there is none.

    Raises:
        CheckpointError: the field is no number.
    """
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise CheckpointError(f"field {field} of a message is no number")
    return value


def piece_of(value: int | Buffer, name: str) -> Buffer:
    """Return the bytes of a nested message or string.

    Raises:
        CheckpointError: it is a number.
    """
    if isinstance(value, int):
        raise CheckpointError(f"{name[:80]}: a part of its entry is no message")
    return value


def text_of(value: int | Buffer) -> str:
    """Return a name.

    Raises:
        CheckpointError: it is none.
    """
    data = bytes(piece_of(value, "a name"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(f"a name {data[:60]!r} is no UTF-8") from None


def shape_of(messages: list[int | Buffer], name: str) -> tuple[int, ...]:
    """Return the shape of a TensorShapeProto.

    Raises:
        CheckpointError: it is unknown or impossible.
    """
    shape: list[int] = []
    for message in messages:
        inner = fields_of(piece_of(message, name), name)
        if number_of(inner, 3):
            raise CheckpointError(f"{name[:80]} has no known shape")
        shape += [number_of(fields_of(piece_of(each, name), name), 1) for each in inner.get(2, [])]
    if len(shape) > 32 or any(size >= 1 << 40 for size in shape):
        raise CheckpointError(f"{name[:80]} has an impossible shape")
    return tuple(shape)
