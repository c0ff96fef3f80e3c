"""How a Vision Transformer is split over ranks: the units gathered together, and a plan for tensor parallelism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.vit.network import VisionTransformer, ViTFeatures


def blocks(net: VisionTransformer | ViTFeatures) -> list[nn.Module]:
    """Return the blocks, in the order of the forward pass; tokens, places, norm and head belong to the whole."""
    return list(net.blocks)


def tensor_plan(net: VisionTransformer | ViTFeatures) -> dict[str, ParallelStyle]:
    """Split the feed-forward nets by their hidden width.

    The attentions stay whole on every rank: queries, keys and values are fused in one matrix, whose rows are not in
    the order of the heads.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

    plan: dict[str, ParallelStyle] = {}
    for index in range(len(net.blocks)):
        plan[f"blocks.{index}.mlp.fc1"] = ColwiseParallel()
        plan[f"blocks.{index}.mlp.fc2"] = RowwiseParallel()
    return plan
