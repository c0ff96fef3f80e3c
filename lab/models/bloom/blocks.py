"""A block of BLOOM: attention and a feed-forward net, each behind a norm and around an identity.

Names: B sequences, T tokens, C ``embed_dim``, H heads (those of this rank under tensor parallelism), D their width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.dropout import dropout as drop
from lab.layers.tensor_parallel.layers import (
    ColumnParallelLinear,
    RowParallelLinear,
    SequenceParallelNorm,
    TensorParallel,
)
from lab.layers.tensor_parallel.random import tensor_region
from lab.models.bloom.cache import LayerCache


class BloomAttention(TensorParallel):
    """Causal attention; rows of ``query_key_value`` are query, key and value of the first head, of the second, ...

    The number of heads is read from the output of ``query_key_value``, so that a layer with only the heads of a rank
    can take its place.

    Args:
        embed_dim: C.
        num_heads: divides it.
        dropout: probability of dropping an attention weight.
        sequence_parallel: each rank of a tensor group gets and gives a part of the tokens.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float, sequence_parallel: bool = False) -> None:
        super().__init__()
        self.head_dim, self.dropout = embed_dim // num_heads, dropout
        self.query_key_value = ColumnParallelLinear(embed_dim, 3 * embed_dim, sequence_parallel=sequence_parallel)
        self.dense = RowParallelLinear(embed_dim, embed_dim, sequence_parallel=sequence_parallel)

    def forward(self, x: Tensor, bias: Tensor, cache: LayerCache | None = None, queries: int | None = None) -> Tensor:
        """Map (B, T, C) to (B, T, C), or to (B, queries, C).

        Args:
            x: normalised states.
            bias: see ``CausalBias``, of these queries for the keys in the cache and their own.
            cache: takes the keys and values, and gives those from before.
            queries: compute so many last tokens only.
        """
        parts = self.query_key_value(x).unflatten(-1, (-1, 3, self.head_dim)).transpose(1, 2)
        query, key, value = parts.unbind(3)
        if cache is not None:
            key, value = cache.extend(key, value)
        if queries is not None:
            query, bias = query[:, :, -queries:], bias[:, :, -queries:]
        mixed = self._attend(query, key, value, bias)
        out: Tensor = self.dense(mixed.transpose(1, 2).flatten(2))
        return out

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Return (B, H, Q, D); scores and softmax are computed in float32 whatever the inputs are."""
        if not self.training or not self.dropout:
            return attend_causally(query, key, value, bias)
        with tensor_region(self.group, query.device):
            if query.device.type == "cpu":  # where PyTorch has no fused kernel
                scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1) + bias
                shares = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
                return drop(shares, self.dropout, training=True) @ value
            return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=self.dropout)


def attend_causally(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return (B, H, Q, D) for queries (B, H, Q, D), keys and values (B, H, K, D), the last query being the last token.

    PyTorch's kernel for CPUs computes all scores, those of later tokens too, unless the queries are given in parts,
    each with the keys up to its own end: a third of the time for 1,000 tokens and more.

    Args:
        query: this and the next two as said.
        key: see there.
        value: see there.
        bias: (1 or B, 1 or H, Q, K), -inf for keys behind the query.
    """
    count = query.shape[2]
    if query.device.type != "cpu" or count < 256 or count != key.shape[2] or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    size = 128 if count < 1024 else 256
    parts = []
    for first in range(0, count, size):
        rows, seen = slice(first, first + size), slice(0, first + size)
        mask = bias[:, :, rows, seen]
        parts.append(F.scaled_dot_product_attention(query[:, :, rows], key[:, :, seen], value[:, :, seen], mask))
    return torch.cat(parts, dim=2)


class BloomMLP(nn.Module):
    """Two linear layers, between them GELU in Megatron's approximation by tanh.

    Args:
        embed_dim: C.
        feedforward_dim: width between the layers.
        sequence_parallel: see ``BloomAttention``.
    """

    def __init__(self, embed_dim: int, feedforward_dim: int, sequence_parallel: bool = False) -> None:
        super().__init__()
        self.dense_h_to_4h = ColumnParallelLinear(embed_dim, feedforward_dim, sequence_parallel=sequence_parallel)
        self.dense_4h_to_h = RowParallelLinear(feedforward_dim, embed_dim, sequence_parallel=sequence_parallel)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        out: Tensor = self.dense_4h_to_h(self.dense_h_to_4h.gelu(x, "tanh"))
        return out


class BloomBlock(TensorParallel):
    """The two branches of a layer.

    Args:
        embed_dim: C.
        num_heads: divides it.
        feedforward_dim: width of the feed-forward net.
        hidden_dropout: probability of dropping a value at the end of a branch.
        attention_dropout: probability of dropping an attention weight.
        epsilon: of the norms.
        sequence_parallel: see ``BloomAttention``.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        hidden_dropout: float,
        attention_dropout: float,
        epsilon: float,
        sequence_parallel: bool = False,
    ) -> None:
        super().__init__()
        self.hidden_dropout, self.sequence_parallel = hidden_dropout, sequence_parallel
        self.input_layernorm = SequenceParallelNorm(embed_dim, epsilon, sequence_parallel)
        self.self_attention = BloomAttention(embed_dim, num_heads, attention_dropout, sequence_parallel)
        self.post_attention_layernorm = SequenceParallelNorm(embed_dim, epsilon, sequence_parallel)
        self.mlp = BloomMLP(embed_dim, feedforward_dim, sequence_parallel)

    def forward(self, x: Tensor, bias: Tensor, cache: LayerCache | None = None, queries: int | None = None) -> Tensor:
        """Map (B, T, C) to (B, T, C), or to (B, queries, C); see ``BloomAttention``."""
        branch = self._drop(self.self_attention(self.input_layernorm(x), bias, cache, queries))
        normal, x = self.post_attention_layernorm.add(branch, x if queries is None else x[:, -queries:])
        return x + self._drop(self.mlp(normal))

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or not self.hidden_dropout:
            return x
        with tensor_region(self.group if self.sequence_parallel else None, x.device):
            return drop(x, self.hidden_dropout, training=True)
