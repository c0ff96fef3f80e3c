"""The ResNets for small images: section 4.2 of "Deep Residual Learning for Image Recognition" (He et al., CVPR 2016).

A 3x3 convolution, then three stages of n blocks with 16, 32 and 64 channels at strides 1, 2 and 4: 6 n + 2 layers.
Where a block changes the resolution, its shortcut takes every second pixel and new channels are zero (option A), so it
has no parameters. Keys are those of the larger ResNets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_some
from lab.errors import ConfigError
from lab.layers.convolution import NormName, Scales, convolve, make_norm
from lab.models.resnet.blocks import BasicBlock, BlockOptions, Stage

STAGES = 3


class PaddedBlock(BasicBlock):
    """A block whose shortcut has no parameters: every ``stride``-th pixel, and zeros for new channels.

    Args:
        in_channels: C.
        channels: of both convolutions, C or more.
        stride: of the first convolution.
        norm: of each convolution's output.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, norm: NormName) -> None:
        super().__init__(in_channels, channels, stride, 1, BlockOptions(norm), None)
        self.stride, self.new_channels = stride, channels - in_channels

    def _shortcut(self, x: Tensor, scales: Scales | None) -> Tensor:
        if self.stride == 1 and not self.new_channels:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class _CifarTrunk(nn.Module):
    """Stem and stages, without a head."""

    def __init__(self, depth: int, width: int, norm: NormName, in_chans: int, num_stages: int) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ConfigError(f"depth={depth} of a ResNet for small images: expected 6 n + 2: 20, 32, 44, 56, ...")
        self.num_stages = num_stages
        self.stage_channels = (width, *(width * 2**stage for stage in range(num_stages)))
        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False)
        self.bn1 = make_norm(norm, width)
        for stage in range(num_stages):
            before, channels = self.stage_channels[stage], self.stage_channels[stage + 1]
            blocks = [PaddedBlock(before, channels, 1 if stage == 0 else 2, norm)]
            blocks += [PaddedBlock(channels, channels, 1, norm) for _ in range((depth - 2) // 6 - 1)]
            self.add_module(f"layer{stage + 1}", Stage(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_stages(self, images: Tensor) -> list[Tensor]:
        """Map (B, in_chans, H, W) to the maps of the stem and of each stage (strides 1, 1, 2, 4)."""
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the stages keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        maps = [convolve(images, self.conv1, self.bn1)]
        for stage in range(self.num_stages):
            maps.append(self.get_submodule(f"layer{stage + 1}")(maps[-1]))
        return maps


class CifarResNet(_CifarTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or (B, C) without a head.

    Args:
        depth: number of layers on a path, 6 n + 2.
        num_classes: K; 0 for no head.
        width: channels of the first stage, 16 as published.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        in_chans: channels of the images.

    Raises:
        ConfigError: the depth is none of these.
    """

    def __init__(
        self, depth: int = 20, num_classes: int = 10, width: int = 16, norm: NormName = "batch_norm", in_chans: int = 3
    ) -> None:
        super().__init__(depth, width, norm, in_chans, STAGES)
        self.num_features = self.stage_channels[-1]
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        logits: Tensor = self.fc(self.forward_stages(images)[-1].mean(dim=(2, 3)))
        return logits


class CifarResNetFeatures(_CifarTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later stages are not built.

    Args:
        depth: as a classifier's.
        out_indices: which maps: 0 is the stem, 1 to 3 the stages.
        width: as a classifier's.
        norm: as a classifier's.
        in_chans: channels of the images.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.
    """

    def __init__(
        self,
        depth: int = 20,
        out_indices: Sequence[int] = (1, 2, 3),
        width: int = 16,
        norm: NormName = "batch_norm",
        in_chans: int = 3,
    ) -> None:
        check_some("out_indices", out_indices, range(STAGES + 1), "stem, stages")
        super().__init__(depth, width, norm, in_chans, num_stages=max(out_indices))
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(self.stage_channels[index] for index in out_indices)
        self.strides = tuple(2 ** max(0, index - 1) for index in out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        maps = self.forward_stages(images)
        return [maps[index] for index in self.out_indices]
