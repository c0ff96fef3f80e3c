"""torchmetrics calls what ``GatheredMetric`` puts before its gathering."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.compat.torchmetrics import GatheredMetric


class Numbers(GatheredMetric):
    """A metric with one list."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.add_state("numbers", [], dist_reduce_fx="cat")

    def empty_states(self) -> dict[str, Any]:
        return {"numbers": torch.empty(0, 4, dtype=torch.int64)}

    def gather(self, tensor: Tensor, group: Any = None) -> list[Tensor]:
        self.seen.append(tensor)
        return [tensor, torch.ones(2, 4, dtype=torch.int64)]  # what another rank has

    def update(self, numbers: Tensor) -> None:
        self.numbers.append(numbers)

    def compute(self) -> Tensor:
        assert isinstance(self.numbers, Tensor)
        return self.numbers


def test_gathered_metric() -> None:
    metric = Numbers()
    metric.sync(dist_sync_fn=metric.gather, distributed_available=lambda: True)
    assert [(tuple(tensor.shape), tensor.dtype) for tensor in metric.seen] == [((0, 4), torch.int64)]
    assert metric.numbers.shape == (2, 4)
