"""How the per-pixel baseline is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.registry.parallel import blocks_of

if TYPE_CHECKING:
    from lab.models.per_pixel.network import PerPixel


def blocks(net: PerPixel) -> list[nn.Module]:
    """Return the units of the backbone, and the pyramid."""
    return [*blocks_of(net.backbone), net.pixel_decoder]
