"""Lookups in a large table whose gradient costs no more than the rows looked up.

That gradient is zero but for those rows. Filling a whole table with zeros in every step takes longer than the rest of
the step, and sparse tensors fit neither strategies nor compilers. There are three ways here, all with the same result:

- A plain lookup, for any optimizer, and while a compiler traces.
- A dense gradient that is kept: the rows of the step before are cleared in it, and the new ones written. For an
  optimizer that reads the touched rows only and leaves gradients as they are (``weight.row_updates``).
- No ``grad`` at all: the rows' gradients are handed to the optimizer as ``weight.row_gradients``, where nobody else
  wants to see gradients (``weight.private_gradients``): one process, no clipping, no gradient scaler.

``lab.training.row_adagrad.Adagrad`` sets both attributes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RowGradient:
    """The dense gradient of one table, kept from step to step; with it goes who may write into it."""

    def __init__(self) -> None:
        self.buffer: Tensor | None = None
        self.written: Tensor | None = None
        self.owner = 0  # the forward pass whose backward may write, once

    def __deepcopy__(self, memo: dict[int, Any]) -> RowGradient:
        """A copy of a network has gradients of its own."""
        return RowGradient()

    def write(self, weight: Tensor, touched: Tensor, values: Tensor) -> Tensor:
        """Return the kept gradient, whose ``touched`` rows are ``values`` and whose other rows are zero."""
        buffer = self.buffer
        if buffer is None or self.written is None or not _alike(buffer, weight):
            buffer = self.buffer = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        else:
            buffer.index_fill_(0, self.written, 0.0)
        buffer.index_add_(0, touched, values)
        self.written = touched
        return buffer.detach()


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, touched: Tensor, kept: RowGradient, leading: int, slots: Tensor
    ) -> tuple[Tensor, Tensor]:
        kept.owner += 1
        ctx.owner, ctx.kept, ctx.weight = kept.owner, kept, weight
        ctx.save_for_backward(touched, slots)
        found = weight.index_select(0, touched)
        return found[:leading], found.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, first: Tensor, single: Tensor) -> tuple[Tensor | None, ...]:
        touched, slots = ctx.saved_tensors
        weight, kept = ctx.weight, ctx.kept
        rest = first.new_zeros(len(touched) - len(first), first.shape[1])
        values = (torch.cat([first, rest]) if len(rest) else first).to(weight.dtype)
        if len(slots):
            values = values.index_add(0, slots, single) if values is first else values.index_add_(0, slots, single)
        gradient: Tensor | None = None
        if getattr(weight, "private_gradients", False):
            weight.row_gradients = [*getattr(weight, "row_gradients", ()), (touched, values)]
        elif ctx.owner == kept.owner and weight.grad is None:
            kept.owner += 1
            gradient = kept.write(weight, touched, values)
        else:  # another gradient of this table is in use: accumulated micro-batches, two losses
            if kept.written is not None:  # that may be the kept one, to which this one is added in place
                kept.written = torch.cat([kept.written, touched])
            gradient = torch.zeros_like(weight).index_add_(0, touched, values)
        return gradient, None, None, None, None


def lookup(weight: Tensor, touched: Tensor, kept: RowGradient, leading: int, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``weight[touched[:leading]]`` (leading, d) and ``weight[touched[slots]]`` (m, d).

    The optimizer learns as ``weight.touched`` which rows may move.

    Args:
        weight: (I, d).
        touched: (U,) int64, none twice: what is looked up in the whole optimizer step, on any rank.
        kept: the table's.
        leading: how many of the first of ``touched`` are wanted.
        slots: (m,) int64 places in ``touched``, any of them twice.
    """
    compiling = torch.compiler.is_compiling()
    if not compiling:
        weight.touched = touched  # type: ignore[attr-defined]
    if compiling or not getattr(weight, "row_updates", False) or not torch.is_grad_enabled():
        return weight.index_select(0, touched[:leading]), weight.index_select(0, touched.index_select(0, slots))
    found: tuple[Tensor, Tensor] = _Lookup.apply(weight, touched, kept, leading, slots)
    return found
