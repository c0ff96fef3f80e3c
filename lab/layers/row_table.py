"""Embedding tables of which a step uses only a few rows, with gradients that cost no more than these rows.

The gradient is zero except for the used rows. Filling a whole table with zeros in every step takes longer than the rest
of the step, and sparse tensors work neither with strategies nor with compilers. So the table and the optimizer of its
weight share an object, ``TableRows``. There are three forms of the gradient, all with the same result:

- Plain, in ``grad``: for any optimizer, and while a compiler traces.
- Kept, in ``grad``: the tensor is reused; rows of the step before are cleared, new rows written. For an optimizer that
  reads only the used rows and does not change gradients (``TableRows.serve``).
- Handed over as rows, without ``grad``: if nothing else reads gradients, that is with one process, no clipping and no
  gradient scaler (``serve`` with ``private``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TableRows:
    """Shared by a table and the optimizer of its weight: which rows a step has used, and their gradients.

    By calling ``serve`` the optimizer declares that it reads only the used rows; otherwise gradients are plain. The
    table sets ``touched`` to the rows that a step uses, and hands over their gradients if these are private. A copy of
    a network gets a new object that no optimizer serves.

    Attributes:
        weight: the parameter that an optimizer serves by rows; None if there is no such optimizer. A strategy that
            computes with another tensor instead gets plain gradients.
        private: whether only the optimizer reads and changes gradients, so that they can be handed over.
        touched: (U,) int64 distinct row numbers: the rows that may change in this step; None before the first step.
        gradients: the gradients handed over since ``forget``: row numbers (U,) and values (U, d) per backward pass.
    """

    def __init__(self) -> None:
        self.weight: Tensor | None = None
        self.private = False
        self.touched: Tensor | None = None
        self.gradients: list[tuple[Tensor, Tensor]] = []
        self._buffer: Tensor | None = None
        self._written: Tensor | None = None
        self._owner = 0  # the forward pass whose backward pass may write, once, into the kept gradient

    def __reduce__(self) -> tuple[type[TableRows], tuple[()]]:
        """A copy or an unpickled object is a new, empty one."""
        return TableRows, ()

    def serve(self, weight: Tensor, private: bool) -> None:
        """Declare that an optimizer reads only the touched rows of ``weight``'s gradient; see the attributes."""
        self.weight, self.private, self.gradients = weight, private, []

    def release(self) -> None:
        """Return to plain gradients, since the optimizer that called ``serve`` is gone."""
        self.weight, self.private, self.gradients = None, False, []

    def forget(self) -> None:
        """Drop the gradients that were handed over."""
        self.gradients = []

    def gradient(self) -> tuple[Tensor, Tensor] | None:
        """Return the numbers of the touched rows and their gradient, in whichever form; None if there is none."""
        weight, touched = self.weight, self.touched
        if weight is None or touched is None or (weight.grad is None and not self.gradients):
            return None
        if weight.grad is None and len(self.gradients) == 1:
            return self.gradients[0]
        whole = torch.zeros_like(weight) if weight.grad is None else weight.grad
        for rows, values in self.gradients:  # micro-batches
            whole = whole.index_add(0, rows, values)
        return touched, whole.index_select(0, touched)

    def begin(self) -> int:
        """Register a forward pass and return its number, the ``owner`` in ``add``."""
        self._owner += 1
        return self._owner

    def add(self, owner: int, weight: Tensor, touched: Tensor, values: Tensor) -> Tensor | None:
        """Return the dense gradient of a backward pass; None if its rows are handed over.

        Args:
            owner: the number of the forward pass.
            weight: the table's weight.
            touched: (U,) rows of that pass.
            values: (U, d) their gradients.
        """
        if self.private:
            self.gradients = [*self.gradients, (touched, values)]
            return None
        if owner == self._owner and weight.grad is None:
            self._owner += 1
            return self._kept(weight, touched, values)
        # Another gradient of this table is in use: accumulated micro-batches, or two losses.
        if self._written is not None:  # it may be the kept gradient, to which autograd adds this one in place
            self._written = torch.cat([self._written, touched])
        return torch.zeros_like(weight).index_add_(0, touched, values)

    def _kept(self, weight: Tensor, touched: Tensor, values: Tensor) -> Tensor:
        """Return the kept gradient, whose ``touched`` rows are ``values`` and whose other rows are zero."""
        buffer = self._buffer
        if buffer is None or self._written is None or not _alike(buffer, weight):
            buffer = self._buffer = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        else:
            buffer.index_fill_(0, self._written, 0.0)
        buffer.index_add_(0, touched, values)
        self._written = touched
        return buffer.detach()


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


class RowTable(nn.Embedding):
    """An embedding whose rows are looked up with ``find``, so that an optimizer can update only those rows.

    Attributes:
        rows: the object that it shares with the optimizer.
    """

    def __init__(self, num_rows: int, width: int) -> None:
        super().__init__(num_rows, width)
        self.rows = TableRows()

    def find(self, touched: Tensor, leading: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``weight[touched[:leading]]`` (leading, d) and ``weight[touched[slots]]`` (m, d).

        Args:
            touched: (U,) int64 distinct rows: everything that the whole optimizer step looks up, on any rank.
            leading: the number of rows at the beginning of ``touched`` to return.
            slots: (m,) int64 indices into ``touched``, with repetitions.
        """
        weight = self.weight
        if torch.compiler.is_compiling() or self.rows.weight is not weight:
            return _plain(weight, touched, leading, slots)
        self.rows.touched = touched
        if not torch.is_grad_enabled():
            return _plain(weight, touched, leading, slots)
        found: tuple[Tensor, Tensor] = _Find.apply(weight, touched, self.rows, leading, slots)
        return found


def _plain(weight: Tensor, touched: Tensor, leading: int, slots: Tensor) -> tuple[Tensor, Tensor]:
    return weight.index_select(0, touched[:leading]), weight.index_select(0, touched.index_select(0, slots))


class _Find(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, touched: Tensor, rows: TableRows, leading: int, slots: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.owner, ctx.rows, ctx.weight = rows.begin(), rows, weight
        ctx.save_for_backward(touched, slots)
        found = weight.index_select(0, touched)
        return found[:leading], found.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, first: Tensor, single: Tensor) -> tuple[Tensor | None, ...]:
        touched, slots = ctx.saved_tensors
        rest = first.new_zeros(len(touched) - len(first), first.shape[1])
        values = (torch.cat([first, rest]) if len(rest) else first).to(ctx.weight.dtype)
        if len(slots):
            values = values.index_add(0, slots, single) if values is first else values.index_add_(0, slots, single)
        return ctx.rows.add(ctx.owner, ctx.weight, touched, values), None, None, None, None
