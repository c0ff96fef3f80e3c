"""TFRecord files of SequenceExamples, written without TensorFlow.

A record is its length (8 bytes), the length's masked CRC-32C, the data, and the data's masked CRC-32C (TensorFlow's
guide to TFRecord). The data is a protobuf message of tensorflow/core/example/example.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.system.crc32c import crc32c, masked


class RecordFileWriter:
    """A TFRecord file as a context, to which records are added.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> None:
        """Add a record."""
        length = struct.pack("<Q", len(data))
        self._file.write(length + _checksum(length) + data + _checksum(data))

    def __enter__(self) -> RecordFileWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()


def sequence_example(context: Mapping[str, str], lists: Mapping[str, Sequence[bytes]]) -> bytes:
    """Return a SequenceExample.

    Args:
        context: a text for each name, which belongs to the whole sequence.
        lists: the bytes of each step for each name.
    """
    features = b"".join(_field(1, _entry(name, _bytes_feature(text.encode()))) for name, text in context.items())
    sequences = b""
    for name, steps in lists.items():
        sequences += _field(1, _entry(name, b"".join(_field(1, _bytes_feature(step)) for step in steps)))
    return _field(1, features) + _field(2, sequences)


def _entry(name: str, value: bytes) -> bytes:
    """Return an entry of a map."""
    return _field(1, name.encode()) + _field(2, value)


def _bytes_feature(value: bytes) -> bytes:
    """Return a Feature of one value, a BytesList."""
    return _field(1, _field(1, value))


def _field(number: int, value: bytes) -> bytes:
    """Return a field with a nested message or bytes."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked(crc32c(data)))
