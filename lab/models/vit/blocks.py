"""The parts of a Vision Transformer: attention, the block, and the map of places (Dosovitskiy et al., ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import has_forward_hooks, has_forward_pre_hooks
from lab.layers.attention import attend
from lab.layers.dropout import drop_path
from lab.layers.dropout import dropout as drop
from lab.layers.linear import Linear, linear
from lab.layers.mlp import FeedForward
from lab.layers.norm import LayerNorm

EPSILON = 1e-6
"""Of every layer norm, as published; transformers' default is another."""


class ViTAttention(nn.Module):
    """Multi-head attention whose rows of ``qkv`` are queries, keys, values.

    Args:
        dim: C.
        num_heads: divides it.
        dropout: probability, behind the projection.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        return drop(self.proj(attend(query, key, value, self.num_heads)), self.dropout, self.training)

    def of_the_first(self, x: Tensor) -> Tensor:
        """Return what ``forward`` returns for the first token, (B, 1, C), without computing the others'."""
        dim = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        query = linear(x[:, :1], weight[:dim], bias[:dim])
        key, value = linear(x, weight[dim:], bias[dim:]).chunk(2, dim=-1)
        return drop(self.proj(attend(query, key, value, self.num_heads)), self.dropout, self.training)


class ViTBlock(nn.Module):
    """Attention and a feed-forward net, each after a norm and around an identity (equations 2 and 3)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, dropout: float, rate: float) -> None:
        super().__init__()
        self.drop_path_rate = rate
        self.norm1 = LayerNorm(dim, eps=EPSILON)
        self.attn = ViTAttention(dim, num_heads, dropout)
        self.norm2 = LayerNorm(dim, eps=EPSILON)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio), dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        branch = self.attn(self.norm1(x))
        if self.norm2.fuses(branch, x):
            normal, x = self.norm2.add(drop_path(branch, self.drop_path_rate, self.training), x)
        else:
            x = self._add(x, branch, self.attn)
            normal = self.norm2(x)
        return self._add(x, self.mlp(normal), self.mlp)

    def of_the_first(self, x: Tensor) -> Tensor:
        """Return what ``forward`` returns for the first token: (B, 1, C)."""
        first = x[:, :1] + self.attn.of_the_first(self.norm1(x))
        return first + self.mlp(self.norm2(first))

    def is_watched(self) -> bool:
        """Whether a hook waits on a part of the block: then every token has to be computed."""
        return any(has_forward_hooks(part) or has_forward_pre_hooks(part) for part in self.modules())

    def _add(self, x: Tensor, branch: Tensor, made_by: nn.Module) -> Tensor:
        """Add a branch to the identity; in inference into the branch's memory, unless a hook has seen it."""
        branch = drop_path(branch, self.drop_path_rate, self.training)
        if torch.is_grad_enabled() or branch.dtype != x.dtype or has_forward_hooks(made_by):
            return x + branch
        return branch.add_(x)


def resample_places(places: Tensor, size: tuple[int, int]) -> Tensor:
    """Return position embeddings for a map of another size: bicubic with antialiasing, the class token's own as it is.

    Args:
        places: (1, 1 + G * G, C), of the class token and of a square map.
        size: (H, W) in patches.

    Returns:
        (1, 1 + H * W, C).
    """
    side = grid_of(places)
    if size == (side, side):
        return places
    grid = places[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    resized = F.interpolate(grid.float(), size=size, mode="bicubic", antialias=True).to(places.dtype)
    return torch.cat((places[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)


def grid_of(places: Tensor) -> int:
    """Return the side of the square map that (1, 1 + G * G, C) position embeddings are of."""
    return round((places.shape[1] - 1) ** 0.5)
