"""Channels of two maps in turns, without leaving the layout that they are stored in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.ops.cpu import needs_gradient, plain_float32


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
    if not plain_float32(first, second):
        return torch.stack((first, second), dim=-1).flatten(-2)
    out: Tensor = _Interleaved.apply(first, second) if torch.is_grad_enabled() else _in_turns(first, second)
    return out


def separate(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the even and the odd channels of (B, 2 C, H, W), which ``interleave`` has joined.

    They are views, but copies where a gradient comes back to channels last: each view's would fill a whole map.
    """
    if x.stride(1) != 1 or not plain_float32(x) or not needs_gradient(x):
        return x[:, 0::2], x[:, 1::2]
    first, second = _Separated.apply(x.permute(0, 2, 3, 1))
    return first.permute(0, 3, 1, 2), second.permute(0, 3, 1, 2)


def _in_turns(first: Tensor, second: Tensor) -> Tensor:
    """Write complex numbers, whose parts lie in turns in memory: an eighth of the time of stacking."""
    out = first.new_empty(*first.shape[:-1], 2 * first.shape[-1])  # no view: an activation in place may follow
    torch.complex(first, second, out=torch.view_as_complex(out.unflatten(-1, (-1, 2))))
    return out


def _apart(x: Tensor) -> tuple[Tensor, Tensor]:
    """Copy: what follows would take four times as long, and more, for numbers that lie apart."""
    return x[..., 0::2].contiguous(), x[..., 1::2].contiguous()


class _Interleaved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        return _in_turns(first, second)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return _apart(grad)


class _Separated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return _apart(x)

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        return interleave_last(first, second)
