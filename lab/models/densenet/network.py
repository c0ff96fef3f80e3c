"""DenseNet-BC 121 to 201: "Densely Connected Convolutional Networks" (Huang, Liu et al., CVPR 2017).

Within a block every layer sees the maps of all layers before it; transitions halve channels and resolution. Keys and
numbers are torchvision's. ``memory_efficient`` recomputes joins and first convolutions in the backward pass (Pleiss et
al., "Memory-Efficient Implementation of DenseNets", 2017) and, unlike torchvision, updates running statistics once.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_range, check_some
from lab.errors import ConfigError
from lab.layers.convolution import NormName, convolve, make_norm
from lab.models.densenet.blocks import DenseBlock, Transition
from lab.ops.pooling import max_pool3x3


class _DenseNetTrunk(nn.Module):
    """Stem, blocks and transitions; the last norm belongs to the last block."""

    def __init__(
        self,
        growth_rate: int,
        block_config: Sequence[int],
        num_init_features: int,
        in_chans: int,
        norm: NormName,
        dropout: float,
        memory_efficient: bool,
        num_blocks: int,
    ) -> None:
        super().__init__()
        if not block_config or min(block_config) < 1:
            raise ConfigError(
                f"block_config={tuple(block_config)}: expected a positive number of layers for each block"
            )
        for name, value in (("growth_rate", growth_rate), ("num_init_features", num_init_features)):
            check_range(name, value, least=1)
        check_range("in_chans", in_chans, least=1)
        check_range("dropout", dropout, least=0, below=1)
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(in_chans, num_init_features, 7, 2, 3, bias=False))
        self.features.add_module("norm0", make_norm(norm, num_init_features))
        self.num_blocks = num_blocks
        channels = num_init_features
        self.stage_channels = [channels]
        for index, num_layers in enumerate(block_config[:num_blocks]):
            block = DenseBlock(num_layers, channels, growth_rate, norm, dropout, memory_efficient)
            self.features.add_module(f"denseblock{index + 1}", block)
            channels += num_layers * growth_rate
            self.stage_channels.append(channels)
            if index + 1 < num_blocks:
                self.features.add_module(f"transition{index + 1}", Transition(channels, norm))
                channels //= 2
        if num_blocks == len(block_config):
            self.features.add_module("norm5", make_norm(norm, channels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward_stages(self, images: Tensor, indices: Container[int]) -> dict[int, Tensor]:
        """Map (B, in_chans, H, W) to the maps of ``indices``: 0 is the stem (stride 2), then each block (4, 8, ...).

        Those of blocks are what their transition sees, before its norm; the last one is normalised and rectified.
        Others are let go at once: their memory is still in the cache when what follows takes it.
        """
        conv0: Any = self.features.get_submodule("conv0")
        if images.ndim != 4 or images.shape[1] != conv0.in_channels or images.numel() == 0:
            raise ConfigError(f"images of shape {tuple(images.shape)}: expected (B, {conv0.in_channels}, H, W)")
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the blocks keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        x = convolve(images, conv0, self.features.get_submodule("norm0"))
        maps = {0: x} if 0 in indices else {}
        x = max_pool3x3(x)
        for index in range(1, self.num_blocks + 1):
            x = self.features.get_submodule(f"denseblock{index}")(x)
            if index == self.num_blocks and hasattr(self.features, "norm5"):
                x = F.relu(self.features.get_submodule("norm5")(x), inplace=True)
            if index in indices:
                maps[index] = x
            if index < self.num_blocks:
                x = self.features.get_submodule(f"transition{index}")(x)
        return maps


class DenseNet(_DenseNetTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or features without a head.

    Args:
        growth_rate: channels that each layer adds.
        block_config: layers of each block.
        num_init_features: channels of the stem.
        num_classes: K; 0 for no head.
        in_chans: channels of the images.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        dropout: probability, behind each layer.
        memory_efficient: recompute in the backward pass what takes most of the memory.

    Raises:
        ConfigError: a number is out of its range.
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        num_classes: int = 1000,
        in_chans: int = 3,
        norm: NormName = "batch_norm",
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        sizes = (growth_rate, block_config, num_init_features, in_chans)
        super().__init__(*sizes, norm, dropout, memory_efficient, len(block_config))
        self.num_features = self.stage_channels[-1]
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        if num_classes > 0:
            nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        maps = self.forward_stages(images, (self.num_blocks,))
        logits: Tensor = self.classifier(maps[self.num_blocks].mean(dim=(2, 3)))
        return logits


class DenseNetFeatures(_DenseNetTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later blocks are not built.

    Args:
        growth_rate: channels that each layer adds.
        block_config: layers of each block.
        num_init_features: channels of the stem.
        out_indices: which maps: 0 is the stem (stride 2), then the blocks (strides 4, 8, 16, 32).
        in_chans: channels of the images.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        dropout: probability, behind each layer.
        memory_efficient: recompute in the backward pass what takes most of the memory.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image; maps are rounded down from the third on.

    Raises:
        ConfigError: a number is out of its range, or an unknown index.
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        in_chans: int = 3,
        norm: NormName = "batch_norm",
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        check_some("out_indices", out_indices, range(len(block_config) + 1), "stem, blocks")
        sizes = (growth_rate, block_config, num_init_features, in_chans)
        super().__init__(*sizes, norm, dropout, memory_efficient, max(out_indices))
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(self.stage_channels[index] for index in out_indices)
        self.strides = tuple(2 ** (index + 1) for index in out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, h, w)."""
        maps = self.forward_stages(images, self.out_indices)
        return [maps[index] for index in self.out_indices]
