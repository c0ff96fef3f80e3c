"""How the per-pixel baseline is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.per_pixel.network import PerPixel


def blocks(net: PerPixel) -> list[nn.Module]:
    """Return the stages (of a Swin the blocks) of the backbone, and the pyramid."""
    backbone = net.backbone
    if hasattr(backbone, "layers"):  # a Swin: the blocks of its stages
        stages = [block for stage in backbone.layers for block in stage.blocks]
    elif hasattr(backbone, "stages"):  # a stem of convolutions, which runs through its stages itself
        stages = list(backbone.stages)
    else:
        stages = [child for child in backbone.children() if isinstance(child, nn.Sequential)]
    return [*stages, net.pixel_decoder]
