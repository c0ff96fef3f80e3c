"""Private parts of torchmetrics that are used, for torchmetrics 1.7 to 1.9."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors


class GatheredMetric(Metric):
    """A metric whose states are lists of tensors that may be empty on some ranks.

    torchmetrics gathers a list by its first tensor, so a rank without tensors would not know dtype and shape.
    """

    @abstractmethod
    def empty_states(self) -> dict[str, Any]:
        """Return, by name of the state, the tensor without elements that replaces an empty list."""

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        for name, empty in self.empty_states().items():
            if not getattr(self, name):
                setattr(self, name, [empty])
        super()._sync_dist(dist_sync_fn, process_group)
