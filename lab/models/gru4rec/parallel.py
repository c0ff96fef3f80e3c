"""How GRU4Rec is split over ranks: as one unit, since every step reads rows of all tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.gru4rec.network import GRU4Rec


def blocks(net: GRU4Rec) -> list[nn.Module]:
    """Return no unit: the network looks up rows itself, not in the forward pass of a table."""
    return []
