"""How the small vision transformer is split: found by its place beside the network."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel


def blocks(net: Any) -> list[nn.Module]:
    return list(getattr(net, "blocks", ()))


def tensor_plan(net: Any) -> dict[str, ParallelStyle]:
    columns = dict.fromkeys(("query", "key", "value", "up"), ColwiseParallel)
    styles = {**columns, "out": RowwiseParallel, "down": RowwiseParallel}
    return {f"blocks.{index}.{name}": style() for index in range(len(net.blocks)) for name, style in styles.items()}
