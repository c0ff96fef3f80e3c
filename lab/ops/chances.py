"""Random numbers that travel with a sample as integers, for what the device draws: the same on any number of ranks."""

from __future__ import annotations

import torch
from torch import Tensor

_LIMIT = 2**31


def draw_integers(generator: torch.Generator, count: int) -> Tensor:
    """Return random integers (count,) int64 of 0 .. 2**31 - 1."""
    return torch.randint(0, _LIMIT, (count,), generator=generator)


def unit(chances: Tensor) -> Tensor:
    """Return random integers of 0 .. 2**31 - 1 as float64 numbers in [0, 1)."""
    return chances.double() / _LIMIT
