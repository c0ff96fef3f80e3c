"""How a wide ResNet is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.wide_resnet.network import WideResNet, WideResNetFeatures


def blocks(net: WideResNet | WideResNetFeatures) -> list[nn.Module]:
    """Return the blocks of each resolution; the stem and a head belong to the whole."""
    return [net.get_submodule(f"block{index + 1}") for index in range(net.num_blocks)]
