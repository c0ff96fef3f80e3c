"""A block of BLOOM: attention and a feed-forward net, each behind a norm and around an identity.

Names: B sequences, T tokens, C ``embed_dim``, H heads (those of this rank under tensor parallelism), D their width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear
from lab.layers.norm import LayerNorm
from lab.models.bloom.cache import LayerCache


class BloomAttention(nn.Module):
    """Causal attention; rows of ``query_key_value`` are query, key and value of the first head, of the second, ...

    The number of heads is read from the output of ``query_key_value``, so that a layer with only the heads of a rank
    can take its place.

    Args:
        embed_dim: C.
        num_heads: divides it.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.head_dim, self.dropout = embed_dim // num_heads, dropout
        self.query_key_value = Linear(embed_dim, 3 * embed_dim)
        self.dense = Linear(embed_dim, embed_dim)

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
        rate = self.dropout if self.training else 0.0
        if rate and query.device.type == "cpu":  # where PyTorch has no fused kernel
            scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1) + bias
            return drop(scores.softmax(-1, dtype=torch.float32).to(query.dtype), rate, training=True) @ value
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=rate)


class BloomMLP(nn.Module):
    """Two linear layers, between them GELU in Megatron's approximation by tanh.

    Args:
        embed_dim: C.
        feedforward_dim: width between the layers.
    """

    def __init__(self, embed_dim: int, feedforward_dim: int) -> None:
        super().__init__()
        self.dense_h_to_4h = Linear(embed_dim, feedforward_dim)
        self.dense_4h_to_h = Linear(feedforward_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        out: Tensor = self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x), approximate="tanh"))
        return out


class BloomBlock(nn.Module):
    """The two branches of a layer.

    Args:
        embed_dim: C.
        num_heads: divides it.
        feedforward_dim: width of the feed-forward net.
        hidden_dropout: probability of dropping a value at the end of a branch.
        attention_dropout: probability of dropping an attention weight.
        epsilon: of the norms.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        feedforward_dim: int,
        hidden_dropout: float,
        attention_dropout: float,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.hidden_dropout = hidden_dropout
        self.input_layernorm = LayerNorm(embed_dim, eps=epsilon)
        self.self_attention = BloomAttention(embed_dim, num_heads, attention_dropout)
        self.post_attention_layernorm = LayerNorm(embed_dim, eps=epsilon)
        self.mlp = BloomMLP(embed_dim, feedforward_dim)

    def forward(self, x: Tensor, bias: Tensor, cache: LayerCache | None = None, queries: int | None = None) -> Tensor:
        """Map (B, T, C) to (B, T, C), or to (B, queries, C); see ``BloomAttention``."""
        branch = self._drop(self.self_attention(self.input_layernorm(x), bias, cache, queries))
        normal, x = self.post_attention_layernorm.add(branch, x if queries is None else x[:, -queries:])
        return x + self._drop(self.mlp(normal))

    def _drop(self, x: Tensor) -> Tensor:
        return drop(x, self.hidden_dropout, self.training)
