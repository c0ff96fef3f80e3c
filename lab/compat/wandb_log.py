"""W&B's transaction log (``run-ID.wandb``): whether it has an end, and how to write one. No torch, no wandb.

After seven bytes of W&B's own it has the framing of LevelDB's log (github.com/google/leveldb, doc/log_format.md):
blocks of 32 KiB; a record is one chunk or several, each with CRC-32, length and type. A record is a message ``Record``
of ``wandb_internal.proto``. W&B has no function that ends the log of a process which was killed.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b":W&B\xe1\xbe\x00"
_BLOCK = 32768
_HEAD = 7
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_NUM, _SUMMARY, _EXIT = 1, 3, 18
"""Numbers of fields of ``Record``."""
_LOOKED_AT = 16
"""The records at the end among which the exit is looked for: W&B writes it as the last one."""


@dataclass(frozen=True)
class LogEnd:
    """The end of a log.

    Attributes:
        has_exit: whether W&B has ended it.
        size: the bytes of its whole records; a kill may have cut off one more.
        number: the number of the last record.
    """

    has_exit: bool
    size: int
    number: int


def read_end(path: Path) -> LogEnd | None:
    """Return the end of a log; None if the file is no log.

    Raises:
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    if data[: len(MAGIC)] != MAGIC:
        return None
    last: deque[bytes] = deque(maxlen=_LOOKED_AT)
    size = len(MAGIC)
    for record, size in _records(data):  # noqa: B007
        last.append(record)
    fields = [dict(_fields(record)) for record in last]
    number = max((int(found[_NUM]) for found in fields if isinstance(found.get(_NUM), int)), default=0)
    return LogEnd(any(_EXIT in found for found in fields), size, number)


def append_exit(path: Path, end: LogEnd, exit_code: int, summary: Mapping[str, Any]) -> None:
    """Write values of the summary and an exit code after the last whole record of a log that nobody writes.

    Args:
        path: the file.
        end: its end, without an exit.
        exit_code: what W&B takes for the exit code of the process.
        summary: plain values for the summary.

    Raises:
        OSError: the file cannot be written.
    """
    items = [_text(1, key) + _text(16, json.dumps(value)) for key, value in summary.items()]
    update = b"".join(_bytes(1, item) for item in items)
    records = [_number(_NUM, end.number + 1) + _bytes(_SUMMARY, update)] if items else []
    records.append(_number(_NUM, end.number + 1 + len(records)) + _bytes(_EXIT, _number(1, exit_code)))
    with path.open("r+b") as file:
        file.truncate(end.size)
        file.seek(end.size)
        file.write(_framed(records, end.size))


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each whole record and the place after it; stop at the first one that is damaged or cut off."""
    place, parts = len(MAGIC), b""
    while True:
        left = _BLOCK - place % _BLOCK
        if left < _HEAD:
            place += left
        crc, length, kind = data[place : place + 4], data[place + 4 : place + 6], data[place + 6 : place + 7]
        payload = data[place + _HEAD : place + _HEAD + int.from_bytes(length, "little")]
        if not kind or len(payload) < int.from_bytes(length, "little"):
            return
        if _checksum(kind, payload) != crc or kind[0] not in (_WHOLE, _FIRST, _MIDDLE, _LAST):
            return
        place += _HEAD + len(payload)
        parts = payload if kind[0] in (_WHOLE, _FIRST) else parts + payload
        if kind[0] in (_WHOLE, _LAST):
            yield parts, place


def _framed(records: list[bytes], place: int) -> bytes:
    """Return records as chunks of a log, the first of which stands at ``place``."""
    framed, start = bytearray(), place
    for record in records:
        rest, first = record, True
        while first or rest:
            left = _BLOCK - (start + len(framed)) % _BLOCK
            if left < _HEAD:
                framed += bytes(left)
                continue
            payload, rest = rest[: left - _HEAD], rest[left - _HEAD :]
            kind = bytes([(_FIRST if rest else _WHOLE) if first else (_MIDDLE if rest else _LAST)])
            framed += _checksum(kind, payload) + len(payload).to_bytes(2, "little") + kind + payload
            first = False
    return bytes(framed)


def _checksum(kind: bytes, payload: bytes) -> bytes:
    return zlib.crc32(payload, zlib.crc32(kind)).to_bytes(4, "little")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of the fields of a protobuf message, as far as it can be read."""
    place = 0
    try:
        while place < len(message):
            key, place = _varint(message, place)
            if key & 7 == 0:
                value, place = _varint(message, place)
                yield key >> 3, value
            elif key & 7 == 2:
                length, place = _varint(message, place)
                yield key >> 3, message[place : place + length]
                place += length
            elif key & 7 in (1, 5):
                place += 8 if key & 7 == 1 else 4
            else:
                return
    except IndexError:
        return


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _number(field: int, value: int) -> bytes:
    return _encoded(field << 3) + _encoded(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _encoded(field << 3 | 2) + _encoded(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
