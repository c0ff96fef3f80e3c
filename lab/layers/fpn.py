"""The feature pyramid that merges a backbone's maps at stride 4: Lin et al., "Feature Pyramid Networks", CVPR 2017.

In the form of Cheng et al., "Per-Pixel Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021,
section 4.1: group norm after every convolution, nearest upsampling, a last convolution without norm. Parameters have
the names of these authors' pixel decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_multiple
from lab.errors import ConfigError
from lab.ops.convolution import Geometry, conv2d, conv3x3


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that keeps the resolution, by ``lab.ops.convolution``."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H, W)."""
        return conv3x3(x, self.weight, self.bias)


class ConvNorm(nn.Conv2d):
    """A convolution without bias that keeps the resolution, then group norm and optionally ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side of the kernel.
        num_groups: groups of the norm; divides ``out_channels``.
        relu: whether to apply ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, num_groups: int, relu: bool) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.geometry = Geometry(padding=(kernel_size // 2, kernel_size // 2))
        self.norm = nn.GroupNorm(num_groups, out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H, W)."""
        out: Tensor = self.norm(conv2d(x, self.weight, None, self.geometry))
        return out.relu_() if self.relu else out


class FeaturePyramid(nn.Module):
    """From a backbone's maps, finest first, to features at the finest resolution.

    Args:
        in_channels: channels of each map.
        channels: channels of the pyramid.
        mask_dim: channels of the returned features.
        num_groups: groups of every group norm; divides ``channels``.
        top_channels: channels of the map that replaces the backbone's coarsest map, if one does.

    Raises:
        ConfigError: ``num_groups`` does not divide ``channels``, or there are fewer than two maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        mask_dim: int,
        num_groups: int = 32,
        top_channels: int | None = None,
    ) -> None:
        super().__init__()
        if len(in_channels) < 2:
            raise ConfigError(f"a feature pyramid needs two maps or more, not the {len(in_channels)} of the backbone")
        check_multiple("channels of the feature pyramid", channels, num_groups, "num_groups")
        self.num_levels = len(in_channels)
        for level, width in enumerate(in_channels[:-1], start=1):
            self.add_module(f"adapter_{level}", ConvNorm(width, channels, 1, num_groups, relu=False))
            self.add_module(f"layer_{level}", ConvNorm(channels, channels, 3, num_groups, relu=True))
        top = ConvNorm(top_channels or in_channels[-1], channels, 3, num_groups, relu=True)
        self.add_module(f"layer_{self.num_levels}", top)
        self.mask_features = Conv3x3(channels, mask_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fill_convolution(module)

    def merge(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, C_i, H_i, W_i), finest first, to (B, channels, H_1, W_1), the input of the last convolution."""
        y: Tensor = self.get_submodule(f"layer_{self.num_levels}")(maps[-1])
        for level in range(self.num_levels - 1, 0, -1):
            lateral: Tensor = self.get_submodule(f"adapter_{level}")(maps[level - 1])
            lateral = add_upsampled(lateral, y)
            y = self.get_submodule(f"layer_{level}")(lateral)
        return y

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, C_i, H_i, W_i), finest first, to (B, mask_dim, H_1, W_1)."""
        features: Tensor = self.mask_features(self.merge(maps))
        return features


def add_upsampled(x: Tensor, coarse: Tensor) -> Tensor:
    """Return the sum of a map (B, C, H, W) and a coarser one (B, C, h, w), upsampled to the nearest."""
    if torch.is_grad_enabled() or x.shape[-2:] != (2 * coarse.shape[-2], 2 * coarse.shape[-1]):
        return x + F.interpolate(coarse, size=x.shape[-2:], mode="nearest")
    fine = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # avoids writing the upsampled map, whose gradient is slow
    return (fine + coarse[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)


def fill_convolution(module: nn.Conv2d) -> None:
    """Initialise a convolution as the authors' code does: uniform weights of variance 1 / fan-in, zero bias."""
    nn.init.kaiming_uniform_(module.weight, a=1)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
