"""A small vision transformer, as an architecture of one's own would be written."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention and a feed-forward net behind norms. Heads are counted by their width: a rank may hold some only."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        heads = [
            layer(normed).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        x = x + self.out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ViT(nn.Module):
    """Maps (B, 16, 12) patches to logits (B, 5). ``scale`` is a matrix that is used without a module of its own."""

    def __init__(self, dim: int = 32, depth: int = 2, head_dim: int = 8) -> None:
        super().__init__()
        self.patches = nn.Linear(12, dim)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, 17, dim) * 0.1)
        self.blocks = nn.Sequential(*(Block(dim, head_dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.scale = nn.Parameter(torch.ones(2, dim))
        self.head = nn.Linear(dim, 5)

    def forward(self, patches: Tensor) -> Tensor:
        tokens = torch.cat((self.class_token.expand(len(patches), -1, -1), self.patches(patches)), dim=1)
        encoded = self.norm(self.blocks(tokens + self.position))[:, 0]
        return self.head(encoded * torch.cat((self.scale[:1], self.scale[1:])).mean(0))


class Uneven(ViT):
    """Its feed-forward nets are 3 wide."""

    def __init__(self) -> None:
        super().__init__()
        for block in self.blocks:
            block.up, block.down = nn.Linear(32, 3), nn.Linear(3, 32)  # type: ignore[union-attr]
