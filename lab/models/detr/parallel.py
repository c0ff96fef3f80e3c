"""How DETR is split over ranks: the units whose parameters are gathered together, and a plan for tensor parallelism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lab.registry.parallel import blocks_of

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.detr.network import DETR


def blocks(net: DETR) -> list[nn.Module]:
    """Return the units of a DETR, in the order of its forward pass; other parameters belong to the whole network.

    The units are those of the backbone, each layer of the encoder, and the whole decoder: it projects the memory with
    the cross-attention weights of all its layers before the first layer runs.
    """
    body = blocks_of(net.backbone[0].get_submodule("body"))
    return [*body, *net.transformer.encoder.layers, net.transformer.decoder]


def tensor_plan(net: DETR) -> dict[str, ParallelStyle]:
    """Split the feed-forward networks of encoder and decoder by their hidden width.

    Attentions are not split: queries, keys and values are fused in one matrix whose rows are not ordered by heads, and
    the decoder projects the keys of all layers at once.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

    plan: dict[str, ParallelStyle] = {}
    for part in ("encoder", "decoder"):
        for index in range(len(getattr(net.transformer, part).layers)):
            layer = f"transformer.{part}.layers.{index}"
            plan[f"{layer}.linear1"] = ColwiseParallel()
            plan[f"{layer}.linear2"] = RowwiseParallel()
    return plan
