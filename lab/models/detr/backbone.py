"""Where DETR's features come from: a registered backbone, or a small stem of convolutions for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class ConvStem(nn.Module):
    """Patches of 4x4 pixels, then stages of two 3x3 convolutions with group norm.

    The first stage keeps the patches' resolution, each further one halves it. Nothing depends on the batch, so the stem
    trains alike on any number of ranks.

    Args:
        widths: channels of each stage, multiples of 8.
    """

    def __init__(self, widths: Sequence[int] = (64, 96)) -> None:
        super().__init__()
        self.num_channels = [widths[-1]]
        stages: list[nn.Module] = []
        before = 3
        for index, width in enumerate(widths):
            first = (4, 4, 0) if index == 0 else (3, 2, 1)
            stages.append(nn.Sequential(*convolution(before, width, *first), *convolution(width, width, 3, 1, 1)))
            before = width
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to [(B, C, h, w)], the last stage's map."""
        return [self.stages(images)]


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    """Return a convolution, a group norm of 8 groups, and ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.ReLU(inplace=True),
    ]


def build_backbone(
    name: str, norm: str, dilation: bool, stem_widths: Sequence[int] = (64, 96)
) -> tuple[nn.Module, int]:
    """Return a module that maps images to a list of feature maps, and the channels of the last of them.

    Args:
        name: ``conv_stem``, or a registered model.
        norm: norm layers of a registered model.
        dilation: keep the resolution in the last stage of a registered model.
        stem_widths: channels of each stage of ``conv_stem``.
    """
    if name == "conv_stem":
        stem = ConvStem(stem_widths)
        return stem, stem.num_channels[-1]
    from lab.registry import create_model

    body: Any = create_model(
        name,
        features_only=True,
        out_indices=(4,),
        norm=norm,
        replace_stride_with_dilation=(False, False, dilation),
    )
    return body, body.num_channels[-1]
