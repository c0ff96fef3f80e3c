"""Lookups in a large table whose gradient is dense to everyone, and costs no more than the rows.

The gradient of a lookup is zero but for the rows looked up. Filling a whole table with zeros in every step takes longer
than the rest of the step, and sparse tensors fit neither strategies nor compilers. Here the dense gradient is a tensor
that is kept: only the rows of the step before are cleared in it, and the new ones added.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class RowGradient:
    """The dense gradient of one table, kept from step to step; with it goes who may write into it."""

    def __init__(self) -> None:
        self.buffer: Tensor | None = None
        self.written: Tensor | None = None
        self.owner = 0  # the forward pass whose backward may write, once

    def __deepcopy__(self, memo: dict[int, Any]) -> RowGradient:
        """A copy of a network has gradients of its own."""
        return RowGradient()

    def cleared(self, weight: Tensor, touched: Tensor) -> Tensor:
        """Return the kept gradient, zero everywhere; ``touched`` rows will be added to."""
        buffer = self.buffer
        like = buffer is not None and (buffer.shape, buffer.dtype, buffer.device) == (
            weight.shape,
            weight.dtype,
            weight.device,
        )
        if buffer is not None and self.written is not None and like:
            buffer.index_fill_(0, self.written, 0.0)
        else:
            buffer = self.buffer = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        self.written = touched
        return buffer


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, touched: Tensor, kept: RowGradient, *rows: Tensor) -> tuple[Tensor, ...]:
        kept.owner += 1
        ctx.owner, ctx.kept = kept.owner, kept
        ctx.save_for_backward(weight, touched, *rows)
        return tuple(weight.index_select(0, part) for part in rows)

    @staticmethod
    def backward(ctx: Any, *values: Tensor) -> tuple[Tensor | None, ...]:
        weight, touched, *rows = ctx.saved_tensors
        kept: RowGradient = ctx.kept
        if ctx.owner == kept.owner and weight.grad is None:
            kept.owner += 1
            gradient = kept.cleared(weight, touched)
        else:  # another gradient of this table is in use: accumulated micro-batches, two losses
            gradient = torch.zeros_like(weight)
        for part, value in zip(rows, values, strict=True):
            gradient.index_add_(0, part, value.to(gradient.dtype))
        return gradient.detach(), None, None, *([None] * len(rows))


def lookup(weight: nn.Parameter, touched: Tensor, kept: RowGradient, *rows: Tensor) -> tuple[Tensor, ...]:
    """Return ``weight[part]`` for each part of ``rows``; tell the optimizer as ``weight.touched`` which rows may move.

    The kept gradient is used only where the optimizer reads just the touched rows and leaves gradients as they are, which
    it says by ``weight.row_updates`` (``lab.tasks.optim.Adagrad``).

    Args:
        weight: (I, d) or (I,).
        touched: (U,) int64, none twice: what is looked up in the whole optimizer step, on any rank.
        kept: the table's.
        rows: int64 numbers among ``touched``.
    """
    compiling = torch.compiler.is_compiling()
    if not compiling:
        weight.touched = touched  # type: ignore[attr-defined]
    if compiling or not getattr(weight, "row_updates", False) or not torch.is_grad_enabled():
        return tuple(weight.index_select(0, part) for part in rows)
    found: tuple[Tensor, ...] = _Lookup.apply(weight, touched, kept, *rows)  # type: ignore[no-untyped-call]
    return found
