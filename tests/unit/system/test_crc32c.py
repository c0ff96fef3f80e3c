"""CRC-32C by RFC 3720's vectors, and large data against a loop over its bytes."""

from __future__ import annotations

import numpy as np
import pytest

from lab.system.crc32c import crc32c, masked, unmasked


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_known_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_large_data_is_what_byte_by_byte_gives() -> None:
    data = np.random.default_rng(0).integers(0, 256, 3 * 65536 + 4321, dtype=np.uint8).tobytes()
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    for length in (65535, 65536, 65537, 131072, len(data)):
        state = 0xFFFFFFFF
        for byte in data[:length]:
            state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
        assert crc32c(memoryview(data)[:length]) == state ^ 0xFFFFFFFF


def test_a_mask_is_undone() -> None:
    crc = 0xE3069283
    assert masked(crc) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert unmasked(masked(crc)) == crc
