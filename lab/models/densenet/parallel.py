"""How a DenseNet is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.models.densenet.blocks import DenseBlock, Transition

if TYPE_CHECKING:
    from lab.models.densenet.network import DenseNet, DenseNetFeatures


def blocks(net: DenseNet | DenseNetFeatures) -> list[nn.Module]:
    """Return blocks and transitions, in the order of the forward pass; stem, last norm and head belong to the whole."""
    return [part for part in net.features.children() if isinstance(part, DenseBlock | Transition)]
