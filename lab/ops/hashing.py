"""Random numbers as a function of counters: the same on any worker or rank, and in any batch.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014): the finaliser of SplitMix64,
with the constants of splitmix64.c (Vigna). Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011)
describe drawing by counter. On the host, in NumPy: torch has no arithmetic of unsigned integers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_SHIFTS = np.array([30, 27, 31], dtype=np.uint64)
_FACTORS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)


def uniform(seed: int, epoch: int, rows: Int64Array, positions: Int64Array, count: int) -> npt.NDArray[np.float64]:
    """Return (N, count) numbers in [0, 1), each a hash of (seed, epoch, row, position, index).

    Args:
        seed: another seed gives other numbers.
        epoch: from 0.
        rows: (N,) the number of a sequence, for instance.
        positions: (N,) the place within it.
        count: numbers for each position.
    """
    state = _stream(seed, epoch)
    for part in (rows, positions):
        state = mix(state ^ mix(part.astype(np.uint64) + np.uint64(_GOLDEN)))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return (mix(state[:, None] + steps) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return SplitMix64's output function of 64-bit states, a bijection."""
    value = value ^ (value >> _SHIFTS[0])
    value *= _FACTORS[0]
    value ^= value >> _SHIFTS[1]
    value *= _FACTORS[1]
    value ^= value >> _SHIFTS[2]
    return value


@lru_cache(maxsize=16)
def _stream(seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    """Return the state (1,) that all numbers of an epoch begin with; it is not written to."""
    return mix(np.array([(epoch * _GOLDEN) & _MASK], dtype=np.uint64) ^ mix(np.array([seed & _MASK], dtype=np.uint64)))
