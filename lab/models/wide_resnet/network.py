"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016) as MixMatch (Berthelot et al., 2019) trains them.

``style="mixmatch"`` computes what google-research/mixmatch does in TensorFlow: each unit normalises and activates
first, convolutions have biases, leaky ReLU has slope 0.1, batch norms have epsilon 1e-3 and momentum 0.001, and a
stride of 2 pads as TensorFlow's "same" (nothing before an even size). ``style="port"`` computes what the popular port,
YU1ut/MixMatch-pytorch, does: no biases, epsilon 1e-5, padding of 1 on all sides, and the first unit of the second and
later blocks convolves its raw input (its ``bn1`` is there and not used). The names of keys are the port's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.checking import check_choice, check_some
from lab.errors import ConfigError
from lab.layers.activation import activate
from lab.layers.convolution import FrozenBatchNorm2d, NormName, convolve, make_norm

Style = Literal["mixmatch", "port"]
EPSILON = {"mixmatch": 1e-3, "port": 1e-5}
MOMENTUM = 0.001
STEM = 16


def _norm(name: NormName, channels: int, style: Style) -> nn.Module:
    if name == "batch_norm":
        return nn.BatchNorm2d(channels, EPSILON[style])
    if name == "frozen_batch_norm":
        return FrozenBatchNorm2d(channels, EPSILON[style])
    return make_norm(name, channels)


class WideUnit(nn.Module):
    """Two 3x3 convolutions, each after a norm and a leaky ReLU, around a shortcut.

    Args:
        in_channels: C.
        out_channels: of both convolutions; where it is another, a 1x1 convolution makes the shortcut fit.
        stride: of the first convolution.
        is_first: of the network, whose shortcut begins after the activation.
        norm: of each convolution's input.
        style: ``mixmatch`` or ``port``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, is_first: bool, norm: NormName, style: Style
    ) -> None:
        super().__init__()
        fits, bias = in_channels == out_channels, style == "mixmatch"
        self.pads_same = style == "mixmatch" and stride == 2
        self.activates = style == "mixmatch" or fits or is_first
        self.activates_shortcut = is_first and (style == "mixmatch" or not fits)
        self.bn1 = _norm(norm, in_channels, style)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 0 if self.pads_same else 1, bias=bias)
        self.bn2 = _norm(norm, out_channels, style)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=bias)
        self.convShortcut = None if fits else nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)
        if not self.activates:
            self.bn1.requires_grad_(False)  # kept for its keys: nothing reaches it

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        out = activate(self.bn1(x), "leaky_relu") if self.activates else x
        shortcut = out if self.activates_shortcut else x
        fresh = self.convShortcut is not None
        if self.convShortcut is not None:
            shortcut = convolve(shortcut, self.convShortcut, activation="none")
        out = convolve(_pad_same(out) if self.pads_same else out, self.conv1, self.bn2, activation="leaky_relu")
        return convolve(out, self.conv2, add=shortcut, activation="none", reuse=fresh)


def _pad_same(x: Tensor) -> Tensor:
    """Pad for a 3x3 convolution of stride 2 as TensorFlow does: an even side only behind, an odd one on both."""
    height, width = (side % 2 for side in x.shape[2:])
    return F.pad(x, (width, 1, height, 1))


class WideBlock(nn.Module):
    """The units of one resolution."""

    def __init__(self, units: int, in_channels: int, channels: int, index: int, norm: NormName, style: Style) -> None:
        super().__init__()
        first = WideUnit(in_channels, channels, 1 if index == 0 else 2, index == 0, norm, style)
        rest = [WideUnit(channels, channels, 1, False, norm, style) for _ in range(units - 1)]
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Run the units."""
        out: Tensor = self.layer(x)
        return out


class _WideResNetTrunk(nn.Module):
    """The stem and the blocks, without a head."""

    def __init__(
        self, depth: int, widen_factor: int, norm: NormName, style: Style, in_chans: int, num_blocks: int
    ) -> None:
        super().__init__()
        check_choice("style", style, get_args(Style))
        if depth < 10 or depth % 6 != 4:
            raise ConfigError(f"depth={depth} of a wide ResNet: expected 6 n + 4: 10, 16, 22, 28, ...")
        self.num_blocks = num_blocks
        widths = (STEM, *(STEM * widen_factor * 2**index for index in range(num_blocks)))
        self.conv1 = nn.Conv2d(in_chans, STEM, 3, padding=1, bias=style == "mixmatch")
        for index in range(num_blocks):
            block = WideBlock((depth - 4) // 6, widths[index], widths[index + 1], index, norm, style)
            self.add_module(f"block{index + 1}", block)
        self.widths = widths

    def _finish(self, momentum: float) -> None:
        """Draw the weights, and set the momentum of all batch norms."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, 0, (2 / fan_out) ** 0.5)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward_blocks(self, images: Tensor) -> list[Tensor]:
        """Map (B, in_chans, H, W) to the maps of the stem and of each block (strides 1, 1, 2, 4, ...)."""
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the blocks keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = [self.conv1(images)]
        for index in range(self.num_blocks):
            maps.append(self.get_submodule(f"block{index + 1}")(maps[-1]))
        return maps


class WideResNet(_WideResNetTrunk):
    """A classifier: (B, in_chans, H, W) normalised images to (B, num_classes) logits, or (B, C) without a head.

    Args:
        depth: number of convolutions on a path, 6 n + 4 with three blocks.
        widen_factor: of the channels 16, 32, 64.
        num_classes: K; 0 for none.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``.
        style: ``mixmatch`` or ``port``.
        in_chans: channels of the images.
        scales: number of blocks; MixMatch takes 3 for 32 pixels and 4 for STL-10's 48.
        momentum: of batch norms' statistics; the published one needs some thousand steps.
    """

    def __init__(
        self,
        depth: int = 28,
        widen_factor: int = 2,
        num_classes: int = 10,
        norm: NormName = "batch_norm",
        style: Style = "mixmatch",
        in_chans: int = 3,
        scales: int = 3,
        momentum: float = MOMENTUM,
    ) -> None:
        super().__init__(depth, widen_factor, norm, style, in_chans, num_blocks=scales)
        self.num_features = self.widths[-1]
        self.bn1 = _norm(norm, self.num_features, style)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        self._finish(momentum)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        x = activate(self.bn1(self.forward_blocks(images)[-1]), "leaky_relu")
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class WideResNetFeatures(_WideResNetTrunk):
    """A backbone: (B, in_chans, H, W) normalised images to the maps of ``out_indices``; later blocks are not built.

    The maps are sums that the next unit would normalise. A fourth block, which a classifier of 32 pixels has not, is
    built where ``out_indices`` asks for it.

    Args:
        depth: as a classifier's.
        widen_factor: as a classifier's.
        out_indices: which maps: 0 is the stem, 1 to 4 the blocks.
        norm: as a classifier's.
        style: as a classifier's.
        in_chans: channels of the images.
        momentum: as a classifier's.

    Attributes:
        num_channels: channels of each returned map.
        strides: stride of each returned map with respect to the image.
    """

    def __init__(
        self,
        depth: int = 28,
        widen_factor: int = 2,
        out_indices: Sequence[int] = (1, 2, 3),
        norm: NormName = "batch_norm",
        style: Style = "mixmatch",
        in_chans: int = 3,
        momentum: float = MOMENTUM,
    ) -> None:
        check_some("out_indices", out_indices, range(5), "stem, blocks")
        super().__init__(depth, widen_factor, norm, style, in_chans, num_blocks=max(out_indices))
        self.out_indices = tuple(out_indices)
        self.num_channels = tuple(self.widths[index] for index in out_indices)
        self.strides = tuple(2 ** max(0, index - 1) for index in out_indices)
        self._finish(momentum)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        maps = self.forward_blocks(images)
        return [maps[index] for index in self.out_indices]
