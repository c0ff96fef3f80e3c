"""How an AFNO network is split over ranks: the units that are gathered together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.afno.network import AFNOTrunk


def blocks(net: AFNOTrunk) -> list[nn.Module]:
    """Return the blocks, in the order of the forward pass; patches, places and head belong to the whole network."""
    return list(net.blocks)


def tensor_plan(net: AFNOTrunk) -> dict[str, ParallelStyle]:
    """Split the feed-forward nets by their hidden width; the mixing of tokens stays whole on every rank."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

    plan: dict[str, ParallelStyle] = {}
    for index in range(len(net.blocks)):
        plan[f"blocks.{index}.mlp.fc1"] = ColwiseParallel()
        plan[f"blocks.{index}.mlp.fc2"] = RowwiseParallel()
    return plan
