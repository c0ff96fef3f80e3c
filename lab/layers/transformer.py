"""Encoder and decoder with places added to queries and keys, normalised after each residual sum.

Carion et al., "End-to-End Object Detection with Transformers", 2020, appendix A.3. Values never carry the encoding of
places. The keys and values of all decoder layers are projected by one matrix product each, since the memory is the
same for all of them; the result is the same sum in another order of columns.

Names: B images, S positions of the feature map, Q queries, D ``embed_dim``, L decoder layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice
from lab.layers.attention import MultiheadAttention
from lab.layers.dropout import CheapDropout
from lab.layers.linear import Linear, linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation called ``name``; for an unknown name raise a ``ConfigError`` that lists the known ones."""
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def fill_matrices(module: nn.Module) -> None:
    """Initialise every matrix of ``module`` by Xavier's uniform rule, fused ones as a whole, as the authors do."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network.

    Args:
        embed_dim: D.
        num_heads: heads of the attention.
        feedforward_dim: hidden width of the feed-forward net.
        dropout: probability, on attention weights, between the two linear layers and on both residual branches.
        activation: ``relu``, ``gelu`` or ``silu``.
    """

    def __init__(self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(embed_dim, num_heads, dropout)
        self.linear1 = Linear(embed_dim, feedforward_dim)
        self.linear2 = Linear(feedforward_dim, embed_dim)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.dropout = CheapDropout(dropout)
        self.activation = activation_function(activation)

    def forward(self, x: Tensor, position: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, S, D) to (B, S, D); ``position`` (B or 1, S, D), ``mask`` (B, 1, 1, S) True where allowed."""
        placed = x + position
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x, mask)))
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class DecoderLayer(nn.Module):
    """Self-attention of the queries, cross-attention to the memory, a feed-forward network.

    Args:
        embed_dim: D.
        num_heads: heads of both attentions.
        feedforward_dim: hidden width of the feed-forward net.
        dropout: probability, in the same places as in ``EncoderLayer``.
        activation: ``relu``, ``gelu`` or ``silu``.
    """

    def __init__(self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(embed_dim, num_heads, dropout)
        self.multihead_attn = MultiheadAttention(embed_dim, num_heads, dropout)
        self.linear1 = Linear(embed_dim, feedforward_dim)
        self.linear2 = Linear(feedforward_dim, embed_dim)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.norm3 = nn.LayerNorm(embed_dim)
        self.dropout = CheapDropout(dropout)
        self.activation = activation_function(activation)

    def forward(
        self, x: Tensor | None, query_position: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Refine the queries.

        Args:
            x: (B, Q, D); None for zeros, the input of the first layer.
            query_position: (B, Q, D).
            keys: (B, S, D) projected keys of the memory.
            values: (B, S, D) projected values of the memory.
            mask: (B, 1, 1, S) bool, True where attention is allowed.

        Returns:
            (B, Q, D).
        """
        x = self.attend_queries(x, query_position)
        (queries,) = self.multihead_attn.project(x + query_position, 0)
        x = self.norm2(x + self.dropout(self.multihead_attn.attend(queries, keys, values, mask)))
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.norm3(x + self.dropout(self.linear2(hidden)))

    def attend_queries(self, x: Tensor | None, query_position: Tensor) -> Tensor:
        """Self-attention and its residual sum; ``x`` None means zeros."""
        if x is None and not self.training:
            # All values equal the bias, so every weighted mean is the bias too. Training needs the whole computation,
            # because of dropout and because every parameter must get a gradient (DDP waits for each).
            bias = self.self_attn.in_proj_bias[-self.self_attn.embed_dim :]
            return self.norm1(self.self_attn.out_proj(bias)).expand_as(query_position)
        if x is None:
            x = torch.zeros_like(query_position)
        placed = x + query_position
        return self.norm1(x + self.dropout(self.self_attn(placed, placed, x)))


class Encoder(nn.Module):
    """A stack of ``EncoderLayer``; the arguments are those of a layer."""

    def __init__(
        self,
        num_layers: int,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(embed_dim, num_heads, feedforward_dim, dropout, activation) for _ in range(num_layers)
        )
        fill_matrices(self)

    def forward(self, x: Tensor, position: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, S, D) to (B, S, D); ``position`` (B or 1, S, D), ``mask`` (B, 1, 1, S) True where allowed."""
        for layer in self.layers:
            x = layer(x, position, mask)
        return x


class Decoder(nn.Module):
    """A stack of ``DecoderLayer`` and one norm for the output of each of them; the arguments are those of a layer."""

    def __init__(
        self,
        num_layers: int,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(embed_dim, num_heads, feedforward_dim, dropout, activation) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dim)
        fill_matrices(self)

    def forward(
        self,
        query_position: Tensor,
        memory: Tensor,
        position: Tensor,
        mask: Tensor | None = None,
        every_layer: bool = True,
    ) -> Tensor:
        """Decode the queries from zeros.

        Args:
            query_position: (B, Q, D).
            memory: (B, S, D), the encoder's output.
            position: (B or 1, S, D), added to the keys.
            mask: (B, 1, 1, S) bool, True where attention is allowed.
            every_layer: return the normalised output of each layer, not of the last only.

        Returns:
            (L, B, Q, D), or (1, B, Q, D).
        """
        keys, values = self.project_memory(memory, position)
        x: Tensor | None = None
        states = []
        for layer, key, value in zip(self.layers, keys, values, strict=True):
            x = layer(x, query_position, key, value, mask)
            states.append(x)
        return self.norm(torch.stack(states if every_layer else states[-1:]))

    def project_memory(self, memory: Tensor, position: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Project the keys and the values (B, S, D) of every layer, with one matrix product for each kind."""
        attentions = [layer.multihead_attn for layer in self.layers if isinstance(layer, DecoderLayer)]
        dim = attentions[0].embed_dim
        projected = []
        for source, first in ((memory + position, dim), (memory, 2 * dim)):
            weight = torch.cat([attention.in_proj_weight[first : first + dim] for attention in attentions])
            bias = torch.cat([attention.in_proj_bias[first : first + dim] for attention in attentions])
            projected.append(linear(source, weight, bias).chunk(len(attentions), dim=-1))
        return projected[0], projected[1]
