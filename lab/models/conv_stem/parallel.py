"""How the stem is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.conv_stem.network import ConvStem


def blocks(net: ConvStem) -> list[nn.Module]:
    """Return the stages, in the order of the forward pass."""
    return list(net.stages)
