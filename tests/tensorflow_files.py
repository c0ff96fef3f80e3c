"""TensorFlow's files, written by a writer that shares nothing with lab's readers."""

from __future__ import annotations

import struct


def checksum(data: bytes) -> int:
    """Return the masked CRC-32C, bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    state ^= 0xFFFFFFFF
    return ((state >> 15 | state << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    """Return a number in seven bits a byte."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes) -> bytes:
    """Return a field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]], kind: int = 0) -> bytes:
    """Return a block of a table, with its trailer."""
    out, restarts, last = b"", [], b""
    for count, (key, value) in enumerate(entries):
        shared = 0
        if count % 3 == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    out += b"".join(struct.pack("<I", place) for place in restarts) + struct.pack("<I", len(restarts))
    return out + bytes([kind]) + struct.pack("<I", checksum(out + bytes([kind])))


def table(entries: list[tuple[bytes, bytes]], kind: int = 0) -> bytes:
    """Return a table of sorted keys."""
    out, index = b"", []
    for first in range(0, len(entries), 4):
        part = block(entries[first : first + 4], kind)
        index.append((entries[min(first + 3, len(entries) - 1)][0], varint(len(out)) + varint(len(part) - 5)))
        out += part
    handles = b""
    for part in (block([]), block(index)):
        handles += varint(len(out)) + varint(len(part) - 5)
        out += part
    return out + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
