"""Tables of sorted keys as LevelDB writes them, which TensorFlow's checkpoints use as an index.

A file is blocks, then a footer of 48 bytes: the place of the index block, a magic number. A block is entries whose keys
share their beginnings, an array of restarts, and behind it a byte for the compression and a masked CRC-32C of both
(LevelDB's doc/table_format.md). Every number is checked before it is used.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5
_COMPRESSIONS = {1: "snappy", 2: "zstd"}


def read_tensors(
    path: Path, parse: Callable[[dict[bytes, bytes]], tuple[dict[str, Tensor], list[str]]]
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint whose index, or all of it, is a table.

    Args:
        path: the table.
        parse: makes the tensors of it, and the names of variables that are no numbers.

    Raises:
        CheckpointError: the table cannot be read, or holds no tensors.
    """
    try:
        tensors, left = parse(read_table(memoryview(path.read_bytes())))
    except CheckpointError as error:
        raise CheckpointError(f"weights {path}: {error}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"weights {path} cannot be read ({reason_of(error)})") from error
    if left:
        logger.info("%s: %d variables that are no numbers are not read: %s", path, len(left), ", ".join(left[:4]))
    if not tensors:
        raise CheckpointError(f"weights {path} hold no tensors")
    return tensors


def read_table(data: memoryview) -> dict[bytes, bytes]:
    """Return the values of a table by their keys, in the order of the keys.

    Args:
        data: the whole file.

    Raises:
        CheckpointError: it is no such table, is damaged, or is compressed.
    """
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise CheckpointError("it does not end as a table does: it is cut off, or another kind of file")
    footer = WireReader(data[-_FOOTER:-8], "the footer")
    _block(data, *footer.handle())  # of metadata, which holds nothing; checked all the same
    found: dict[bytes, bytes] = {}
    last: bytes | None = None
    for _, place in _entries(_block(data, *footer.handle())):
        for key, value in _entries(_block(data, *WireReader(place, "the index block").handle())):
            if last is not None and key <= last:
                raise CheckpointError(f"its keys are not in ascending order: {key[:60]!r} follows {last[:60]!r}")
            found[key] = bytes(value)
            last = key
    return found


def ends_as_table(file: BinaryIO) -> bool:
    """Return whether an opened file ends with the number of such tables."""
    file.seek(0, 2)
    if file.tell() < _FOOTER:
        return False
    file.seek(-8, 2)
    return struct.unpack("<Q", file.read(8))[0] == _MAGIC


class WireReader:
    """Reads numbers of LevelDB's and protobuf's encoding from the front of a piece of memory.

    Args:
        data: the piece.
        what: what it is, for errors.
    """

    def __init__(self, data: memoryview | bytes, what: str) -> None:
        self._data, self._what, self._at = data, what, 0

    @property
    def is_at_end(self) -> bool:
        """Whether everything was read."""
        return self._at == len(self._data)

    def varint(self) -> int:
        """Read a number of up to 64 bits, seven bits a byte.

        Raises:
            CheckpointError: there is none.
        """
        number = 0
        for shift in range(0, 70, 7):
            (byte,) = self.take(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if number >= 1 << 64:
                    break
                return number
        raise CheckpointError(f"{self._what} holds a number of more than 64 bits")

    def take(self, count: int) -> memoryview | bytes:
        """Read some bytes.

        Raises:
            CheckpointError: there are fewer.
        """
        if count > len(self._data) - self._at:
            raise CheckpointError(f"{self._what} ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def handle(self) -> tuple[int, int]:
        """Read offset and size of a block."""
        return self.varint(), self.varint()


def _block(data: memoryview, offset: int, size: int) -> memoryview:
    """Return the content of a block, checked."""
    from lab.system.crc32c import crc32c, unmasked  # imports numpy, which no command line needs

    if offset + size + _TRAILER > len(data) - _FOOTER:
        raise CheckpointError(f"a block of {size} bytes at {offset} reaches beyond the blocks")
    content, kind = data[offset : offset + size], data[offset + size]
    (stored,) = struct.unpack("<I", data[offset + size + 1 : offset + size + _TRAILER])
    if crc32c(data[offset : offset + size + 1]) != unmasked(stored):
        raise CheckpointError(f"the block at {offset} is damaged: its checksum differs")
    if kind:
        raise CheckpointError(
            f"the block at {offset} is compressed ({_COMPRESSIONS.get(kind, f'kind {kind}')}), which TensorFlow's own "
            "writer does not do; it is not read"
        )
    return content


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview | bytes]]:
    """Yield keys and values of a block."""
    if len(block) < 4:
        raise CheckpointError("a block is too short")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise CheckpointError("a block has more restarts than bytes")
    reader, key = WireReader(block[:end], "a block"), b""
    while not reader.is_at_end:
        shared, own, size = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key):
            raise CheckpointError("a key shares more with the one before than that one has")
        key = key[:shared] + bytes(reader.take(own))
        yield key, reader.take(size)
