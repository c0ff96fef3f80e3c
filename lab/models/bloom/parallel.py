"""How BLOOM is split over ranks: units whose parameters are gathered together, and a plan for tensor parallelism."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor.parallel import ParallelStyle

    from lab.models.bloom.network import Bloom


def blocks(net: Bloom) -> list[nn.Module]:
    """Return the blocks, in the order of the forward pass; embeddings and the last norm belong to the whole."""
    return list(net.h)


def tensor_plan(net: Bloom) -> dict[str, ParallelStyle]:
    """Split attentions by heads, feed-forward nets by their hidden width and the embedding by the vocabulary.

    The rows of ``query_key_value`` are ordered by heads, so that consecutive rows are whole heads. The head and the
    loss use the split embedding themselves. With ``tensor_parallel=megatron`` the layers know how they are split.
    """
    if net.tensor_parallel == "megatron":
        return {}
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel

    plan: dict[str, ParallelStyle] = {"word_embeddings": RowwiseParallel(input_layouts=Replicate())}
    for index in range(len(net.h)):
        block = f"h.{index}"
        plan[f"{block}.self_attention.query_key_value"] = ColwiseParallel()
        plan[f"{block}.self_attention.dense"] = RowwiseParallel()
        plan[f"{block}.mlp.dense_h_to_4h"] = ColwiseParallel()
        plan[f"{block}.mlp.dense_4h_to_h"] = RowwiseParallel()
    return plan
