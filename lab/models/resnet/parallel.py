"""How a ResNet is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.resnet.network import ResNet, ResNetFeatures


def blocks(net: ResNet | ResNetFeatures) -> list[nn.Module]:
    """Return the stages; stem and head belong to the whole network."""
    return [net.get_submodule(f"layer{stage + 1}") for stage in range(net.num_stages)]
