"""Tables of which a step looks up and moves a few rows: their gradient costs no more than the rows.

That gradient is zero but for those rows. Filling a whole table with zeros in every step takes longer than the rest of
the step, and sparse tensors fit neither strategies nor compilers. So the table and the optimizer of its weight share an
object, ``TableRows``, and there are three ways of a gradient, all with the same result:

- Plain, in ``grad``: for any optimizer, and while a compiler traces.
- Kept, in ``grad``: the rows of the step before are cleared in it, and the new ones written. For an optimizer that
  reads the touched rows only and leaves gradients as they are (``TableRows.serve``).
- Handed over as rows, with no ``grad`` at all, where nobody else wants to see gradients either: one process, no
  clipping, no gradient scaler (``serve`` with ``private``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TableRows:
    """What a table and the optimizer of its weight tell each other about the rows of a step.

    The optimizer says by ``serve`` that it reads the touched rows only; without it gradients are plain. The table says
    which rows a step has ``touched``, and hands their gradients over where they are private. A copy of a network has
    rows of its own, which no optimizer has asked for.

    Attributes:
        weight: the parameter that an optimizer serves by rows; None: there is no such optimizer. A strategy that
            computes with another tensor in its place gets plain gradients.
        private: nobody but the optimizer reads or changes gradients: they are handed over.
        touched: (U,) int64 row numbers, none twice: the rows that may move in this step; None before the first.
        gradients: what was handed over since ``forget``: row numbers (U,) and values (U, d) of each backward pass.
    """

    def __init__(self) -> None:
        self.weight: Tensor | None = None
        self.private = False
        self.touched: Tensor | None = None
        self.gradients: list[tuple[Tensor, Tensor]] = []
        self._buffer: Tensor | None = None
        self._written: Tensor | None = None
        self._owner = 0  # the forward pass whose backward may write into the kept gradient, once

    def __reduce__(self) -> tuple[type[TableRows], tuple[()]]:
        """A copy is a new one."""
        return TableRows, ()

    def serve(self, weight: Tensor, private: bool) -> None:
        """Let an optimizer read the touched rows of ``weight``'s gradient only; see the attributes."""
        self.weight, self.private, self.gradients = weight, private, []

    def release(self) -> None:
        """Go back to plain gradients: the optimizer that asked for others is gone."""
        self.weight, self.private, self.gradients = None, False, []

    def forget(self) -> None:
        """Forget the gradients that were handed over."""
        self.gradients = []

    def gradient(self) -> tuple[Tensor, Tensor] | None:
        """Return the numbers of the touched rows and their gradient, wherever it stands; None where there is none."""
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
        """Note a forward pass; its number is what ``add`` is told."""
        self._owner += 1
        return self._owner

    def add(self, owner: int, weight: Tensor, touched: Tensor, values: Tensor) -> Tensor | None:
        """Return the dense gradient of a backward pass, None where its rows are handed over.

        Args:
            owner: the number of its forward pass.
            weight: the table's.
            touched: (U,) rows of that pass.
            values: (U, d) their gradients.
        """
        if self.private:
            self.gradients = [*self.gradients, (touched, values)]
            return None
        if owner == self._owner and weight.grad is None:
            self._owner += 1
            return self._kept(weight, touched, values)
        # Another gradient of this table is in use: accumulated micro-batches, two losses.
        if self._written is not None:  # it may be the kept one, to which this one is added in place
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
    """An embedding whose rows are looked up by ``find``, so that an optimizer may move those rows alone.

    Attributes:
        rows: what it shares with the optimizer.
    """

    def __init__(self, num_rows: int, width: int) -> None:
        super().__init__(num_rows, width)
        self.rows = TableRows()

    def find(self, touched: Tensor, leading: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``weight[touched[:leading]]`` (leading, d) and ``weight[touched[slots]]`` (m, d).

        Args:
            touched: (U,) int64, none twice: what is looked up in the whole optimizer step, on any rank.
            leading: how many of the first of ``touched`` are wanted.
            slots: (m,) int64 places in ``touched``, any of them twice.
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
