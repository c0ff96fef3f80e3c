"""Random numbers as a function of counters: the same on any rank, in any batch, at any time.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014): the finaliser of SplitMix64,
which Vigna's public-domain splitmix64.c gives with the constants used here. Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3" (SC 2011) describe the idea of drawing by counter.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GAMMA, _FIRST, _SECOND = (
    value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)  # as int64, whose products and sums wrap around


def mix(values: Tensor) -> Tensor:
    """Return SplitMix64's output for states (int64, any shape): a bijection whose bits look independent."""
    values = values + _GAMMA
    values = (values ^ _shift(values, 30)) * _FIRST
    values = (values ^ _shift(values, 27)) * _SECOND
    return values ^ _shift(values, 31)


def hashed(seed: int, *counters: Tensor) -> Tensor:
    """Return 64 pseudo-random bits as int64 for each tuple of counters.

    Args:
        seed: another seed gives other bits.
        *counters: int64 tensors that broadcast together, the number of a sequence, of a query and of a draw for
            instance.
    """
    state = torch.tensor(seed, dtype=torch.int64, device=counters[0].device if counters else None)
    state = mix(state)
    for counter in counters:
        state = mix(state ^ counter)
    return state


def hashed_below(limits: Tensor, seed: int, *counters: Tensor) -> Tensor:
    """Return int64 numbers 0 to ``limits`` - 1, uniform to within ``limits`` / 2**63, for each tuple of counters.

    Args:
        limits: int64, at least 1; broadcasts with the counters.
        seed: see ``hashed``.
        *counters: see ``hashed``.
    """
    return _shift(hashed(seed, *counters), 1) % limits


def _shift(values: Tensor, bits: int) -> Tensor:
    """Shift right with zeros coming in, which int64 itself does with copies of the sign."""
    return (values >> bits) & (2 ** (64 - bits) - 1)
