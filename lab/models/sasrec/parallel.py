"""How SASRec is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.sasrec.network import SASRec


def blocks(net: SASRec) -> list[nn.Module]:
    """Return the blocks, in the order of the forward pass; the embeddings belong to the whole network."""
    return list(net.blocks)
