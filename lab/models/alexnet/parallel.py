"""How an AlexNet is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.alexnet.network import AlexNet, AlexNetFeatures


def blocks(net: AlexNet | AlexNetFeatures) -> list[nn.Module]:
    """Return the linear layers of a classifier, which have 96 % of its parameters; convolutions belong to the whole."""
    if not hasattr(net, "classifier"):
        return []
    return [layer for layer in net.get_submodule("classifier").children() if isinstance(layer, nn.Linear)]
