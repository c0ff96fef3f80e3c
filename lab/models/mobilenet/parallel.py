"""How a MobileNetV2 is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.mobilenet.network import MobileNetV2, MobileNetV2Features


def blocks(net: MobileNetV2 | MobileNetV2Features) -> list[nn.Module]:
    """Return the inverted residuals; the stem and a head belong to the whole."""
    return list(net.features)[1 : net.num_blocks + 1]
