"""Channels of two maps in turns, without leaving the layout that they are stored in."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.ops.cpu import plain_float32


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Return the channels of both in turns: 0 of the first, 0 of the second, 1 of the first, and so on.

    It is ShuffleNet's channel shuffle of two groups, after their concatenation, in one copy.

    Args:
        first: (B, C, H, W).
        second: of the same shape.

    Returns:
        (B, 2 C, H, W), channels last in memory where both are.
    """
    if first.stride(1) != 1 or second.stride(1) != 1:
        return torch.stack((first, second), dim=2).flatten(1, 2)
    return interleave_last(first.permute(0, 2, 3, 1), second.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def interleave_last(first: Tensor, second: Tensor) -> Tensor:
    """Return the numbers of both in turns along the last dimension: (..., C) and (..., C) to (..., 2 C)."""
    if plain_float32(first, second) and not torch.is_grad_enabled():
        # A complex number lies in memory as its two parts in turns; writing it is twice as fast as stacking.
        return torch.view_as_real(torch.complex(first, second)).flatten(-2)
    return torch.stack((first, second), dim=-1).flatten(-2)
