"""The types that data, networks and task of this kind exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from lab.structures import DataSpec, Movable, Term


@dataclass(frozen=True)
class TabularSpec(DataSpec):
    """What the data tells the task: the columns of the table and how they are scaled.

    Attributes:
        columns: the names of the F features.
        target: the name of the column to predict.
        means: the mean of each feature, then of the target; 0 where a column is not scaled.
        deviations: the standard deviations in the same order; 1 where a column is not scaled.
    """

    task: str = "tabular"
    columns: tuple[str, ...] = ()
    target: str = ""
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    def net_arguments(self) -> dict[str, Any]:
        """Return the number of features, which sizes the network."""
        return {"num_features": len(self.columns)}

    def describe(self) -> str:
        """Return the target and the features in words."""
        return f"{self.target} from {', '.join(self.columns)}"


@dataclass
class TabularTargets(Movable):
    """What the loss compares predictions with: the scaled target (B,) float32."""

    values: Tensor

    def rows(self, chosen: slice) -> TabularTargets:
        """Return consecutive rows."""
        return TabularTargets(self.values[chosen])


@dataclass
class TabularBatch(Movable):
    """Rows of a table.

    Attributes:
        features: (B, F) float32, scaled.
        targets: what the loss compares predictions with.
        row_ids: (B,) int64, the index of each row in its file.
        valid: (B,) bool, False for a row that only pads the batch; metrics must not count it.
        totals: the normalisers of the whole optimizer step; None outside of training.
    """

    features: Tensor
    targets: TabularTargets
    row_ids: Tensor
    valid: Tensor
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """The number of rows B."""
        return len(self.features)

    def rows(self, chosen: slice) -> TabularBatch:
        """Return consecutive rows."""
        targets = self.targets.rows(chosen)
        return TabularBatch(self.features[chosen], targets, self.row_ids[chosen], self.valid[chosen], self.totals)


@runtime_checkable
class Regressor(Protocol):
    """The protocol of this kind's networks: predict one number per row."""

    def __call__(self, features: Tensor) -> Tensor:
        """Return scaled predictions (B,) for features (B, F)."""
        ...

    def totals(self, targets: TabularTargets) -> Mapping[str, float]:
        """Return the normalisers that ``loss`` names, for this batch."""
        ...

    def loss(self, outputs: Tensor, targets: TabularTargets) -> Mapping[str, Term]:
        """Return the terms of the loss as sums over the batch, not divided."""
        ...
