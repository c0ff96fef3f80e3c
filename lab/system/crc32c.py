"""CRC-32C (Castagnoli) of large data, without a compiled extension: many parts of the data at once, by numpy.

The polynomial is that of RFC 3720, appendix B.4, where the test vectors stand too.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

_POLYNOMIAL = 0x82F63B78  # bits reversed
_LANES = 1 << 14
_WORD = 4
Numbers = np.ndarray[Any, np.dtype[np.uint32]]


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32C of data."""
    values = np.frombuffer(data, dtype=np.uint8)
    words = len(values) // (_LANES * _WORD)
    state = 0xFFFFFFFF
    if words:
        parts = values[: words * _WORD * _LANES].view("<u4").reshape(_LANES, words)
        # A CRC is linear: each lane is computed from 0, the first one from the state of the beginning.
        states = np.zeros(_LANES, dtype=np.uint32)
        states[0] = state
        near, far = _pairs()
        for column in range(words):
            states ^= parts[:, column]
            states = near[states & 0xFFFF] ^ far[states >> 16]
        state = _join(states, words * _WORD)
        values = values[words * _WORD * _LANES :]
    table = _numbers()
    for value in values.tobytes():
        state = table[(state ^ value) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def unmasked(masked: int) -> int:
    """Return the CRC of one that is stored masked, as LevelDB's tables and TensorFlow's checkpoints do."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def masked(crc: int) -> int:
    """Return a CRC as it is stored: the reverse of ``unmasked``."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _join(states: Numbers, length: int) -> int:
    """Return the state after all lanes of ``length`` bytes; their number is a power of two."""
    shift = _zeros(length)
    while len(states) > 1:
        states = _apply(shift, states[0::2]) ^ states[1::2]
        shift = _apply(shift, shift)
    return int(states[0])


def _zeros(length: int) -> Numbers:
    """Return what ``length`` zero bytes do to a state: a matrix of bits, its 32 columns as numbers."""
    found: Numbers = np.uint32(1) << np.arange(32, dtype=np.uint32)
    step: Numbers = _table()[found & 0xFF] ^ (found >> 8)
    while length:
        if length & 1:
            found = _apply(step, found)
        step = _apply(step, step)
        length >>= 1
    return found


def _apply(matrix: Numbers, states: Numbers) -> Numbers:
    """Multiply each state, or each column of another matrix, by a matrix of bits."""
    found = np.zeros_like(states)
    for bit in range(32):
        found ^= np.where((states >> bit) & 1, matrix[bit], np.uint32(0))
    return found


@functools.cache
def _table() -> Numbers:
    """Return what one byte does to a state."""
    table: Numbers = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


@functools.cache
def _numbers() -> list[int]:
    """Return ``_table`` for single bytes."""
    found: list[int] = _table().tolist()
    return found


@functools.cache
def _pairs() -> tuple[Numbers, Numbers]:
    """Return what the lower and the upper two bytes of a state become after four bytes."""
    table = _table()
    lower: Numbers = np.arange(1 << 16, dtype=np.uint32)
    upper: Numbers = lower << np.uint32(16)
    for _ in range(_WORD):
        lower, upper = table[lower & 0xFF] ^ (lower >> 8), table[upper & 0xFF] ^ (upper >> 8)
    return lower, upper
