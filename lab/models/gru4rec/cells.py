"""The two gated recurrent units of the authors' code, which differ in where the reset gate stands.

``torch.nn.GRUCell`` multiplies the recurrent part of the candidate by the reset gate after the matrix product; it serves
every layer that has an input vector. ``GRUEmbedding`` is the layer whose input is an item's number: its input matrix is
the table that the number is looked up in, and it resets the state before the product, as the authors' Theano code and
Cho et al. ("Learning Phrase Representations using RNN Encoder-Decoder", 2014, equation 8) do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        self.Wx0 = nn.Embedding(num_items, 3 * hidden_dim)
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
