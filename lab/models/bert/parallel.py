"""How BERT is split over ranks: the units gathered together, and a plan for tensor parallelism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.bert.network import Bert


def blocks(net: Bert) -> list[nn.Module]:
    """Return the blocks, in the order of the forward pass; embeddings and heads belong to the whole network."""
    return list(net.blocks)


def tensor_plan(net: Bert) -> dict[str, ParallelStyle]:
    """Split the feed-forward nets by their hidden width.

    The attentions stay whole on every rank: queries, keys and values are fused in one matrix, whose rows are not in
    the order of the heads.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

    plan: dict[str, ParallelStyle] = {}
    for index in range(len(net.blocks)):
        plan[f"blocks.{index}.fc1"] = ColwiseParallel()
        plan[f"blocks.{index}.fc2"] = RowwiseParallel()
    return plan
