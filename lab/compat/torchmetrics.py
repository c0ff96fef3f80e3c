"""What torchmetrics keeps private and is used here, for torchmetrics 1.7 to 1.9."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors


class GatheredMetric(Metric):
    """A metric whose states are lists of tensors, of which a rank may have none.

    torchmetrics gathers a list by its first tensor: a rank without one would say nothing of type and shape.
    """

    @abstractmethod
    def empty_states(self) -> dict[str, Any]:
        """Return by name the tensor, without elements, that stands for an empty list."""

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        for name, empty in self.empty_states().items():
            if not getattr(self, name):
                setattr(self, name, [empty])
        super()._sync_dist(dist_sync_fn, process_group)
