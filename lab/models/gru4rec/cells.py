"""The two gated recurrent units of the authors' code, which differ in the place of the reset gate.

``torch.nn.GRUCell`` multiplies the recurrent part of the candidate by the reset gate after the matrix product; it is
used for every layer with an input vector. ``GRUEmbedding`` is a layer whose input is an item's number: its input matrix
is an embedding table, and it resets the state before the product, as do the authors' Theano code and Cho et al.
("Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014, section 2.3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lab.layers.row_table import RowTable


class _GRUCell(torch.autograd.Function):
    """One step of ``nn.GRUCell`` with gradients in closed form, for a state that needs no gradient."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        width = hidden.shape[1]
        from_input, from_hidden = torch.addmm(b_ih, inputs, w_ih.T), torch.addmm(b_hh, hidden, w_hh.T)
        gates = (from_input[:, : 2 * width] + from_hidden[:, : 2 * width]).sigmoid_()
        reset, update = gates[:, :width], gates[:, width:]
        recurrent = from_hidden[:, 2 * width :]
        candidate = torch.addcmul(from_input[:, 2 * width :], reset, recurrent).tanh_()
        ctx.save_for_backward(inputs, hidden, w_ih, gates, recurrent, candidate)
        return torch.lerp(candidate, hidden, update)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        inputs, hidden, w_ih, gates, recurrent, candidate = ctx.saved_tensors
        width = hidden.shape[1]
        reset, update = gates[:, :width], gates[:, width:]
        slopes = gates - gates * gates  # of the sigmoids
        of_input = inputs.new_empty(len(inputs), 3 * width)
        of_reset, of_update, of_candidate = of_input.chunk(3, dim=1)
        torch.mul(outer - outer * update, 1 - candidate * candidate, out=of_candidate)
        torch.mul(outer * (hidden - candidate), slopes[:, width:], out=of_update)
        torch.mul(of_candidate * recurrent, slopes[:, :width], out=of_reset)
        of_hidden = torch.cat([of_input[:, : 2 * width], of_candidate * reset], dim=1)
        return (
            of_input @ w_ih if ctx.needs_input_grad[0] else None,
            None,
            of_input.T @ inputs,
            of_hidden.T @ hidden,
            of_input.sum(dim=0),
            of_hidden.sum(dim=0),
        )


class GRUCell(nn.GRUCell):
    """``nn.GRUCell`` for training on single steps, without a gradient through time, at a third of the cost."""

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:  # type: ignore[override]
        """Return the next state (m, h) from inputs (m, d) and states (m, h)."""
        plain = inputs.is_meta or torch.compiler.is_compiling() or torch.is_autocast_enabled(inputs.device.type)
        if plain or hidden.requires_grad or not torch.is_grad_enabled():
            return super().forward(inputs, hidden)
        state: Tensor = _GRUCell.apply(inputs, hidden, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return state


class GRUEmbedding(nn.Module):
    """A GRU whose input is an item's number.

    Args:
        num_items: I.
        hidden_dim: h.

    Shapes: ``Wx0.weight`` (I, 3h) in the order candidate, reset, update; ``Wrz0`` (h, 2h); ``Wh0`` (h, h);
    ``Bh0`` (3h,).
    """

    def __init__(self, num_items: int, hidden_dim: int) -> None:
        super().__init__()
        self.Wx0 = RowTable(num_items, 3 * hidden_dim)
        self.Wrz0 = nn.Parameter(torch.empty(hidden_dim, 2 * hidden_dim))
        self.Wh0 = nn.Parameter(torch.empty(hidden_dim, hidden_dim))
        self.Bh0 = nn.Parameter(torch.zeros(3 * hidden_dim))

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """Return the next state (m, h).

        Args:
            inputs: (m, 3h) the items' rows of ``Wx0``.
            hidden: (m, h).
        """
        candidate, gates = (inputs + self.Bh0).tensor_split([hidden.shape[1]], dim=1)
        reset, update = torch.sigmoid(gates + hidden @ self.Wrz0).chunk(2, dim=1)
        candidate = torch.tanh(candidate + (reset * hidden) @ self.Wh0)
        return torch.lerp(hidden, candidate, update)
