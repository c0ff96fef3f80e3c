"""How BLOOM is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.bloom.network import Bloom


def blocks(net: Bloom) -> list[nn.Module]:
    """Return the blocks, in the order of the forward pass; embeddings and the last norm belong to the whole."""
    return list(net.h)
