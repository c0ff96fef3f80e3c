"""The 3x3 of a bottleneck as a modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", CVPR 2019).

Names of parameters are mmcv's (``DCNv2``): ``conv2.weight``, ``conv2.conv_offset``. A new layer has offsets of 0 and
masks of 1/2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.checking import check_multiple
from lab.compat.torch import is_watched
from lab.layers.activation import activate
from lab.layers.convolution import FrozenBatchNorm2d, Scales, convolve, is_constant, scale_and_shift
from lab.ops.deform_conv import deform_conv2d

KERNEL = 3
TAPS = KERNEL * KERNEL


class ModulatedDeformConv2d(nn.Module):
    """A 3x3 that keeps the size, apart from its stride; an ordinary 3x3 says where each of its taps looks.

    Args:
        in_channels: C.
        out_channels: O.
        stride: of the regular places.
        dilation: of the regular places, and the padding.
        groups: of the product.
        deform_groups: groups of channels with offsets and masks of their own.

    Raises:
        ConfigError: ``groups`` or ``deform_groups`` does not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        deform_groups: int = 1,
    ) -> None:
        super().__init__()
        check_multiple("channels of the deformable convolution", in_channels, deform_groups, "deform_groups")
        check_multiple("channels of the deformable convolution", in_channels, groups, "groups")
        self.stride, self.dilation, self.deform_groups = stride, dilation, deform_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, KERNEL, KERNEL))
        offsets = 3 * deform_groups * TAPS
        self.conv_offset = nn.Conv2d(in_channels, offsets, KERNEL, stride, padding=dilation, dilation=dilation)
        bound = (in_channels * TAPS) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, O, h, w).

        Args:
            x: what comes in.
            scale: (O,) factors of the output's channels.
            shift: (O,) what is added then.
        """
        moved = convolve(x, self.conv_offset, activation="none")
        offset, mask = moved.split((2 * self.deform_groups * TAPS, self.deform_groups * TAPS), 1)
        weight = self.weight if scale is None else self.weight * scale[:, None, None, None]
        stride, dilation = (self.stride, self.stride), (self.dilation, self.dilation)
        return deform_conv2d(x, offset, weight, mask.sigmoid(), shift, stride, dilation, dilation)


def deform_convolve(x: Tensor, layer: ModulatedDeformConv2d, norm: nn.Module, scales: Scales | None = None) -> Tensor:
    """Convolve, normalise and rectify; a constant batch norm becomes a part of the weight.

    Args:
        x: (B, C, H, W).
        layer: the convolution.
        norm: of its output.
        scales: see ``lab.layers.convolution.scales_of``.
    """
    if not is_constant(norm) or is_watched(layer) or is_watched(norm):
        return activate(norm(layer(x)), "relu")
    assert isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d)
    scale, shift = scales[norm] if scales and norm in scales else scale_and_shift(norm)
    return activate(layer(x, scale, shift), "relu")
