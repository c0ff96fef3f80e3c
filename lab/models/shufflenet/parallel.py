"""How a ShuffleNetV2 is split over ranks: the units whose parameters are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lab.models.shufflenet.network import ShuffleNetV2, ShuffleNetV2Features


def blocks(net: ShuffleNetV2 | ShuffleNetV2Features) -> list[nn.Module]:
    """Return the stages; the stem and a head belong to the whole."""
    return [net.get_submodule(f"stage{stage + 2}") for stage in range(net.num_stages)]
