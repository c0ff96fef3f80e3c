"""What data, networks and task of this kind say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from lab.structures import DataSpec, Movable, Term


@dataclass(frozen=True)
class TabularSpec(DataSpec):
    """What a table tells: its columns, and how they are scaled.

    Attributes:
        columns: the names of the F features.
        target: the name of the column that is predicted.
        means: of the features, then the target; 0 where they are left as they are.
        deviations: likewise; 1 where they are left as they are.
    """

    task: str = "tabular"
    columns: tuple[str, ...] = ()
    target: str = ""
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    def net_arguments(self) -> dict[str, Any]:
        """Return the number of features."""
        return {"num_features": len(self.columns)}

    def describe(self) -> str:
        """Return what is predicted from what."""
        return f"{self.target} from {', '.join(self.columns)}"


@dataclass
class TabularTargets(Movable):
    """What the loss compares with: the target (B,) float32, scaled."""

    values: Tensor

    def rows(self, chosen: slice) -> TabularTargets:
        """Return consecutive rows."""
        return TabularTargets(self.values[chosen])


@dataclass
class TabularBatch(Movable):
    """Rows of a table.

    Attributes:
        features: (B, F) float32, scaled.
        targets: what the loss compares with.
        row_ids: (B,) int64, the number of each row in its file.
        valid: (B,) bool, False for a row that only fills up the batch and must not be counted.
        totals: the normalisers of the whole optimizer step; None outside of training.
    """

    features: Tensor
    targets: TabularTargets
    row_ids: Tensor
    valid: Tensor
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.features)

    def rows(self, chosen: slice) -> TabularBatch:
        """Return consecutive rows."""
        targets = self.targets.rows(chosen)
        return TabularBatch(self.features[chosen], targets, self.row_ids[chosen], self.valid[chosen], self.totals)


@runtime_checkable
class Regressor(Protocol):
    """A network that predicts a number for each row."""

    def __call__(self, features: Tensor) -> Tensor:
        """Return the scaled prediction (B,) for features (B, F)."""
        ...

    def totals(self, targets: TabularTargets) -> Mapping[str, float]:
        """Return this batch's share of the normalisers that ``loss`` names."""
        ...

    def loss(self, outputs: Tensor, targets: TabularTargets) -> Mapping[str, Term]:
        """Return the terms of the loss, as sums over the batch."""
        ...
