"""ResNet 18 to 152: "Deep Residual Learning for Image Recognition" (He et al., CVPR 2016), with the stride on the 3x3.

Keys and arithmetic are torchvision's (its v1.5 bottleneck, whose 3x3 convolution has the stride). As a backbone
(``features_only``) it returns a list of maps. Normalisation: ``batch_norm``, ``frozen_batch_norm`` (statistics and
affine are constants, as detectors use it) or ``group_norm`` (no dependence on the batch).
``lab.layers.convolution`` computes a convolution with its norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice, check_some
from lab.compat.torch import has_forward_hooks
from lab.errors import ConfigError
from lab.layers.convolution import NormName, convolve, make_norm

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity (section 3.3, figure 5 left)."""

    expansion = 1

    def __init__(
        self, in_channels: int, channels: int, stride: int, dilation: int, norm: NormName, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        if dilation > 1:
            raise ConfigError("replace_stride_with_dilation needs bottleneck blocks: ResNet 50, 101 or 152")
        self.conv1 = _conv(in_channels, channels, 3, stride)
        self.bn1 = make_norm(norm, channels)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = make_norm(norm, channels)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.Module:
        """The norm before the addition."""
        return self.bn2

    def forward(self, x: Tensor, reuse: bool = False) -> Tensor:
        """Map (B, C, H, W) to (B, channels, H / stride, W / stride); with ``reuse`` ``x`` may be overwritten."""
        out = convolve(x, self.conv1, self.bn1)
        if self.downsample is not None:
            x, reuse = convolve(x, *self.downsample, activation="none"), True  # type: ignore[misc]
        return convolve(out, self.conv2, self.bn2, add=x, reuse=reuse)


class Bottleneck(nn.Module):
    """1x1 down, 3x3 (with the stride), 1x1 up, around an identity (section 4.1, figure 5 right)."""

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int, dilation: int, norm: NormName, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, channels, 1)
        self.bn1 = make_norm(norm, channels)
        self.conv2 = _conv(channels, channels, 3, stride, dilation)
        self.bn2 = make_norm(norm, channels)
        self.conv3 = _conv(channels, channels * self.expansion, 1)
        self.bn3 = make_norm(norm, channels * self.expansion)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.Module:
        """The norm before the addition."""
        return self.bn3

    def forward(self, x: Tensor, reuse: bool = False) -> Tensor:
        """Map (B, C, H, W) to (B, 4 * channels, H / stride, W / stride); with ``reuse`` ``x`` may be overwritten."""
        out = convolve(x, self.conv1, self.bn1)
        out = convolve(out, self.conv2, self.bn2)
        if self.downsample is not None:
            x, reuse = convolve(x, *self.downsample, activation="none"), True  # type: ignore[misc]
        return convolve(out, self.conv3, self.bn3, add=x, reuse=reuse)


class Stage(nn.Sequential):
    """The blocks of one resolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks; all but the first may overwrite their input, unless a hook has seen it."""
        reuse = False
        for block in self:
            x = block(x, reuse)
            reuse = not has_forward_hooks(block)
        return x


class _ResNetTrunk(nn.Module):
    """Stem and stages, without a head."""

    def __init__(
        self,
        depth: int,
        norm: NormName,
        replace_stride_with_dilation: Sequence[bool],
        zero_init_residual: bool,
        num_stages: int,
    ) -> None:
        super().__init__()
        check_choice("depth", depth, DEPTHS)
        if len(replace_stride_with_dilation) != 3:
            raise ConfigError("replace_stride_with_dilation has three entries, for layer2, layer3 and layer4")
        block = BasicBlock if depth < 50 else Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = make_norm(norm, 64)
        in_channels, dilation = 64, 1
        self.num_stages = num_stages
        for stage, blocks in enumerate(DEPTHS[depth][:num_stages]):
            stride, first_dilation = (1 if stage == 0 else 2), dilation
            if stage > 0 and replace_stride_with_dilation[stage - 1]:
                stride, dilation = 1, dilation * 2
            channels = 64 * 2**stage
            layer = _make_stage(block, in_channels, channels, blocks, stride, (first_dilation, dilation), norm)
            self.add_module(f"layer{stage + 1}", layer)
            in_channels = channels * block.expansion
        self.stage_channels = (64, *(64 * 2**stage * block.expansion for stage in range(num_stages)))
        self._init_weights(zero_init_residual)

    def _init_weights(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)  # type: ignore[arg-type]

    def forward_stages(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to the maps of the stem (stride 2) and of each stage (strides 4, 8, 16, 32)."""
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the stages keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        maps = [convolve(images, self.conv1, self.bn1)]
        x = F.max_pool2d(maps[0], kernel_size=3, stride=2, padding=1)
        for stage in range(self.num_stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            maps.append(x)
        return maps


def _make_stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    blocks: int,
    stride: int,
    dilations: tuple[int, int],
    norm: NormName,
) -> Stage:
    """Return one stage; as in torchvision its first block keeps the dilation of the stage before."""
    out_channels = channels * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(_conv(in_channels, out_channels, 1, stride), make_norm(norm, out_channels))
    layers = [block(in_channels, channels, stride, dilations[0], norm, downsample)]
    layers += [block(out_channels, channels, 1, dilations[1], norm, None) for _ in range(blocks - 1)]
    return Stage(*layers)


class ResNet(_ResNetTrunk):
    """A classifier: (B, 3, H, W) normalised images to (B, num_classes) logits, or (B, C) features without a head."""

    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        norm: NormName = "batch_norm",
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__(depth, norm, replace_stride_with_dilation, zero_init_residual, num_stages=4)
        self.num_features = self.stage_channels[-1]
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        pooled = self.forward_stages(images)[-1].mean(dim=(2, 3))
        logits: Tensor = self.fc(pooled)
        return logits


class ResNetFeatures(_ResNetTrunk):
    """A backbone: (B, 3, H, W) normalised images to the maps of ``out_indices``; later stages are not built.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.
    """

    def __init__(
        self,
        depth: int,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        norm: NormName = "batch_norm",
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
        zero_init_residual: bool = False,
    ) -> None:
        check_some("out_indices", out_indices, range(5), "stem, stages")
        super().__init__(depth, norm, replace_stride_with_dilation, zero_init_residual, num_stages=max(out_indices))
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(self.stage_channels[index] for index in out_indices)
        strides = [2, 4]
        for dilated in replace_stride_with_dilation:
            strides.append(strides[-1] * (1 if dilated else 2))
        self.strides = tuple(strides[index] for index in out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        maps = self.forward_stages(images)
        return [maps[index] for index in self.out_indices]
