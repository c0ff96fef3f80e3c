"""How a network of darknet is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.models.darknet.layers import ConvolutionLayer

if TYPE_CHECKING:
    from lab.models.darknet.network import Darknet


def blocks(net: Darknet) -> list[nn.Module]:
    """Return the convolutions, each with its normalisation; nothing else has parameters."""
    return [layer for layer in net.layers if isinstance(layer, ConvolutionLayer)]
