"""How DETR3D is split over ranks: the units that are gathered together, and a plan for tensor parallelism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.registry.parallel import blocks_of

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.detr3d.network import Detr3D


def blocks(net: Detr3D) -> list[nn.Module]:
    """Return the units in the order of the forward pass: those of the backbone, the neck, each layer of the decoder."""
    return [*blocks_of(net.img_backbone), net.img_neck, *net.pts_bbox_head.transformer.decoder.layers]


def tensor_plan(net: Detr3D) -> dict[str, ParallelStyle]:
    """Split the feed-forward networks by their hidden width; rows of the fused attention are not ordered by heads."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

    plan: dict[str, ParallelStyle] = {}
    for index in range(net.pts_bbox_head.transformer.decoder.num_layers):
        layer = f"pts_bbox_head.transformer.decoder.layers.{index}.ffns.0.layers"
        plan[f"{layer}.0.0"] = ColwiseParallel()
        plan[f"{layer}.1"] = RowwiseParallel()
    return plan
