"""The parts of a Swin Transformer: patches, merging, and the blocks of a stage (Liu et al., ICCV 2021, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import has_forward_hooks
from lab.layers.dropout import drop_path
from lab.layers.linear import Linear
from lab.layers.mlp import FeedForward
from lab.layers.patches import PatchProjection, pad_to_patches
from lab.models.swin.windows import Partition, Partitions, WindowAttention

PATCH = 4


class PatchEmbed(nn.Module):
    """Non-overlapping 4x4 patches to tokens of ``embed_dim`` channels, normalised."""

    def __init__(self, embed_dim: int, in_chans: int = 3) -> None:
        super().__init__()
        self.proj = PatchProjection(in_chans, embed_dim, PATCH)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, in_chans, H, W) to (B, H / 4, W / 4, C), padded with zeros to whole patches."""
        tokens: Tensor = self.norm(self.proj(pad_to_patches(images, PATCH)))
        return tokens


class PatchMerging(nn.Module):
    """Concatenate 2x2 neighbours and reduce them to twice the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H / 2, W / 2, 2 * C); odd sizes are padded with zeros."""
        batch, height, width, channels = x.shape
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        # The official order of the four neighbours: the row index changes first.
        x = x.reshape(batch, (height + 1) // 2, 2, (width + 1) // 2, 2, channels).permute(0, 1, 3, 4, 2, 5).flatten(3)
        reduced: Tensor = self.reduction(self.norm(x))
        return reduced


class SwinBlock(nn.Module):
    """Attention within windows and a feed-forward network, each with a norm before it and a residual (equation 3)."""

    def __init__(self, dim: int, num_heads: int, window_size: int, mlp_ratio: float, rate: float) -> None:
        super().__init__()
        self.drop_path_rate = rate
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))
        self.register_load_state_dict_pre_hook(_without_mask)

    def forward(self, x: Tensor, partition: Partition) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        x = self._add(x, self.attn(self.norm1(x), partition), self.attn)
        return self._add(x, self.mlp(self.norm2(x)), self.mlp)

    def _add(self, x: Tensor, branch: Tensor, made_by: nn.Module) -> Tensor:
        """Add a branch to the residual; in inference in the branch's memory, unless a hook has seen it."""
        branch = drop_path(branch, self.drop_path_rate, self.training)
        if torch.is_grad_enabled() or branch.dtype != x.dtype or has_forward_hooks(made_by):
            return x + branch
        return branch.add_(x)


def _without_mask(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    state_dict.pop(f"{prefix}attn_mask", None)  # official files have the mask for their training size


class SwinStage(nn.Module):
    """The blocks of one resolution, and the merging layer that leads to the next.

    Attributes:
        shift_small: whether windows are also shifted if the map is no larger than one window.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        rates: Sequence[float],
        downsample: bool,
        shift_small: bool,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift_small = shift_small
        self.blocks = nn.ModuleList(SwinBlock(dim, num_heads, window_size, mlp_ratio, rate) for rate in rates)
        self.downsample = PatchMerging(dim) if downsample else None
        self._partitions = Partitions()

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks on (B, H, W, C), every second one on shifted windows; ``downsample`` is left to the caller."""
        height, width = x.shape[1:3]
        window = self.window_size
        whole = shifted = self._partitions(height, width, window, 0, x)
        if len(self.blocks) > 1 and window > 1 and (self.shift_small or min(height, width) > window):
            shifted = self._partitions(height, width, window, window // 2, x)
        for index, block in enumerate(self.blocks):
            x = block(x, shifted if index % 2 else whole)
        return x
