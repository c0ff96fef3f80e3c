"""Where DETR's features come from: a registered backbone, or a small stem of convolutions for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class ConvStem(nn.Module):
    """Residual stages of 3x3 convolutions with group norm; each stage halves the resolution.

    Nothing in it depends on the batch, so it trains alike on any number of ranks.

    Args:
        widths: channels of each stage.
        groups: groups of the norms.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), groups: int = 8) -> None:
        super().__init__()
        self.num_channels = [widths[-1]]
        stages: list[nn.Module] = []
        before = 3
        for width in widths:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                    nn.GroupNorm(groups, width),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, padding=1, bias=False),
                    nn.GroupNorm(groups, width),
                    nn.ReLU(inplace=True),
                )
            )
            before = width
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to [(B, C, H / 8, W / 8)]."""
        return [self.stages(images)]


def build_backbone(name: str, norm: str, dilation: bool) -> tuple[nn.Module, int]:
    """Return a module that maps images to a list of feature maps, and the channels of the last of them.

    Args:
        name: ``conv_stem``, or a registered model.
        norm: norm layers of a registered model.
        dilation: keep the resolution in the last stage of a registered model.
    """
    if name == "conv_stem":
        stem = ConvStem()
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
