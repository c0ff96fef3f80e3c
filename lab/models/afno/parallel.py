"""How an AFNO network is split over ranks: the units that are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.afno.network import AFNOTrunk
    from lab.models.afno.precipitation import PrecipitationNet


def blocks(net: AFNOTrunk | PrecipitationNet) -> list[nn.Module]:
    """Return the blocks, in the order of the forward pass; patches, places and head belong to the whole network."""
    return [block for _, part in _parts(net) for block in part.blocks]


def _parts(net: AFNOTrunk | PrecipitationNet) -> list[tuple[str, AFNOTrunk]]:
    """Return the AFNO networks in a network, with the prefix of their parameters, in the order of the forward pass."""
    from lab.models.afno.precipitation import PrecipitationNet

    if not isinstance(net, PrecipitationNet):
        return [("", net)]
    return [*([] if net.winds is None else [("winds.", net.winds)]), ("backbone.", net.backbone)]


def tensor_plan(net: AFNOTrunk | PrecipitationNet) -> dict[str, ParallelStyle]:
    """Split the feed-forward nets by their hidden width; the mixing of tokens stays whole on every rank."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

    plan: dict[str, ParallelStyle] = {}
    for prefix, part in _parts(net):
        for index in range(len(part.blocks)):
            plan[f"{prefix}blocks.{index}.mlp.fc1"] = ColwiseParallel()
            plan[f"{prefix}blocks.{index}.mlp.fc2"] = RowwiseParallel()
    return plan
