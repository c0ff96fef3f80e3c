"""How a YOLO-FastestV2 is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.registry.parallel import blocks_of

if TYPE_CHECKING:
    from lab.models.yolo_fastest.network import YoloFastestV2


def blocks(net: YoloFastestV2) -> list[nn.Module]:
    """Return the backbone's units and the pyramid; the output convolutions belong to the whole."""
    return [*blocks_of(net.backbone), net.fpn]
