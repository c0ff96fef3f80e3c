"""How a VoVNet is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.vovnet.network import VoVNet


def blocks(net: VoVNet) -> list[nn.Module]:
    """Return the stages, in the order of the forward pass; the stem belongs to the whole network."""
    return [net.get_submodule(f"stage{stage + 2}") for stage in range(net.num_stages)]
