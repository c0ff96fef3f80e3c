"""How a Swin Transformer is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.swin.network import SwinFeatures, SwinTransformer


def blocks(net: SwinTransformer | SwinFeatures) -> list[nn.Module]:
    """Return the blocks of every stage, in the order of the forward pass; the rest belongs to the whole network."""
    return [block for stage in net.layers for block in stage.get_submodule("blocks").children()]
