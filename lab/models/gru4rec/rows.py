"""Rows of a large table whose gradient is dense to everyone, and costs no more than the rows.

The gradient of a lookup is zero but for the rows looked up. Filling a whole table with zeros in every step takes longer
than the rest of the step, and sparse tensors fit neither strategies nor compilers. Here the dense gradient is a tensor
that is kept: only the rows of the step before are cleared in it, and the new ones written.
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

    def write(self, weight: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        """Return the gradient whose ``rows`` are ``values`` and whose other rows are zero."""
        buffer = self.buffer
        if buffer is None or self.written is None or buffer.shape != weight.shape or buffer.dtype != weight.dtype:
            buffer = self.buffer = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        elif buffer.device != weight.device:
            buffer = self.buffer = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        else:
            buffer.index_fill_(0, self.written, 0.0)
        buffer.index_add_(0, rows, values.to(buffer.dtype))
        self.written = rows
        return buffer.detach()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, gradient: RowGradient) -> Tensor:
        gradient.owner += 1
        ctx.owner, ctx.gradient = gradient.owner, gradient
        ctx.save_for_backward(weight, rows)
        return weight.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, values: Tensor) -> tuple[Tensor, None, None]:
        weight, rows = ctx.saved_tensors
        gradient: RowGradient = ctx.gradient
        if ctx.owner == gradient.owner and weight.grad is None:
            gradient.owner += 1
            return gradient.write(weight, rows, values), None, None
        # Another gradient of this table is still in use (accumulated micro-batches, two losses): not the kept one.
        return torch.zeros_like(weight).index_add_(0, rows, values.to(weight.dtype)), None, None


def gather_rows(weight: nn.Parameter, rows: Tensor, gradient: RowGradient) -> Tensor:
    """Return ``weight[rows]`` (U, d), and tell the optimizer as ``weight.touched`` which rows will have a gradient.

    The kept gradient is used only where the optimizer reads just those rows and leaves gradients as they are, which it
    says by ``weight.row_updates`` (``lab.tasks.optim.Adagrad``).

    Args:
        weight: (I, d).
        rows: (U,) int64, none twice, those of the whole optimizer step.
        gradient: kept for this table.
    """
    if torch.compiler.is_compiling():
        return weight.index_select(0, rows)
    weight.touched = rows  # type: ignore[attr-defined]
    if not getattr(weight, "row_updates", False) or not torch.is_grad_enabled():
        return weight.index_select(0, rows)
    gathered: Tensor = _Gather.apply(weight, rows, gradient)  # type: ignore[no-untyped-call]
    return gathered
