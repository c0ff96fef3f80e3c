"""Multi-head attention over PyTorch's fused kernels.

Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2. Parameters are named and laid out as those of
``torch.nn.MultiheadAttention`` (rows of ``in_proj_weight``: queries, keys, values), so state dicts go both ways; unlike
it, queries, keys and values may be projected elsewhere, many layers at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_multiple
from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear, linear


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Scaled dot-product attention of projected tensors, heads split and merged again.

    Args:
        query: (B, Q, E).
        key: (B, S, E).
        value: (B, S, D); D may differ from E.
        num_heads: number of heads; divides E and D.
        mask: bool, broadcastable to (B, num_heads, Q, S), True where attention is allowed; None allows everything.
        dropout: probability of dropping an attention weight; 0 outside of training.
        causal: query i attends to keys 0 to i only; instead of a mask.

    Returns:
        (B, Q, D).
    """
    heads = [tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2) for tensor in (query, key, value)]
    if dropout and query.device.type == "cpu":
        if causal:
            mask = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril()
        mixed = _attend_with_dropout(heads[0], heads[1], heads[2], mask, dropout)
    else:
        mixed = F.scaled_dot_product_attention(
            heads[0], heads[1], heads[2], attn_mask=mask, dropout_p=dropout, is_causal=causal
        )
    return mixed.transpose(1, 2).flatten(2)


def _attend_with_dropout(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, probability: float) -> Tensor:
    """Attend where PyTorch has no fused kernel, with a cheaper mask of dropped weights than its own fallback's."""
    logits = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return drop(logits.softmax(-1), probability, training=True) @ value


def attention_mask(padding_mask: Tensor | None) -> Tensor | None:
    """Turn a key padding mask (B, S), True where padded, into a mask (B, 1, 1, S), True where allowed."""
    return None if padding_mask is None else ~padding_mask[:, None, None]


class MultiheadAttention(nn.Module):
    """Multi-head attention, batch first, without attention weights as an output.

    Args:
        embed_dim: width of queries, keys, values and the output.
        num_heads: number of heads; divides ``embed_dim``.
        dropout: probability of dropping an attention weight in training.

    Raises:
        ConfigError: ``num_heads`` does not divide ``embed_dim``.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_multiple("embed_dim", embed_dim, num_heads, "num_heads")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, tensor: Tensor, first: int, count: int = 1) -> tuple[Tensor, ...]:
        """Project to ``count`` of (queries, keys, values) beginning at ``first``, with one matrix product."""
        rows = slice(first * self.embed_dim, (first + count) * self.embed_dim)
        return linear(tensor, self.in_proj_weight[rows], self.in_proj_bias[rows]).chunk(count, dim=-1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend with projected queries (B, Q, D), keys and values (B, S, D) and project the result (B, Q, D)."""
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(attend(query, key, value, self.num_heads, mask, dropout))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from ``query`` (B, Q, D) to ``key`` and ``value`` (B, S, D).

        Args:
            query: (B, Q, D).
            key: (B, S, D); projected together with the queries where it is the same tensor.
            value: (B, S, D).
            mask: bool, broadcastable to (B, num_heads, Q, S), True where attention is allowed.

        Returns:
            (B, Q, D).
        """
        if query is key:
            queries, keys = self.project(query, 0, 2)
        else:
            (queries,), (keys,) = self.project(query, 0), self.project(key, 1)
        (values,) = self.project(value, 2)
        return self.attend(queries, keys, values, mask)
