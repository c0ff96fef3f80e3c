"""How a VGGish is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.vggish.network import VGGish


def blocks(net: VGGish) -> list[nn.Module]:
    """Return the linear layers, 94 % of the published network's parameters; convolutions belong to the whole."""
    return [layer for layer in net.embeddings if isinstance(layer, nn.Linear)]
