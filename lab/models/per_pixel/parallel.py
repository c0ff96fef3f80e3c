"""How the per-pixel baseline is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.per_pixel.network import PerPixel


def blocks(net: PerPixel) -> list[nn.Module]:
    """Return the stages (of a Swin the blocks) of the backbone, and the pyramid."""
    backbone = net.backbone
    if hasattr(backbone, "layers"):
        stages = [block for stage in backbone.layers for block in stage.blocks]
    else:
        stages = [child for child in backbone.children() if isinstance(child, nn.Sequential)]
    return [*stages, net.pixel_decoder]
