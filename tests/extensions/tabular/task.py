"""The task: trains any ``Regressor`` with the network's own loss and measures the RMSE in the target's unit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score

from lab.errors import DataError
from lab.run_record import Direction
from lab.structures import Term
from lab.training.task import Task
from tabular.structures import Regressor, TabularBatch, TabularSpec


class TabularTask(Task):
    """Train and measure a regressor; see ``Task`` for the arguments."""

    kind = "tabular"
    protocol = Regressor
    monitor = "val/rmse"
    monitor_mode: Direction = "min"
    directions: Mapping[str, Direction] = MappingProxyType({"loss": "min", "r2": "max"})
    shown = ("rmse",)
    spec: TabularSpec

    def make_metrics(self) -> None:
        """Make the metrics of validation and test. Float64 makes them the same on any number of ranks."""
        self.measures = torch.nn.ModuleDict({split: self._measures() for split in ("val", "test")})

    def _measures(self) -> torch.nn.ModuleDict:
        found: dict[str, Any] = {"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError()}
        if self.eval_settings["r2"]:
            found["r2"] = R2Score()
        return torch.nn.ModuleDict({name: metric.set_dtype(torch.float64) for name, metric in found.items()})

    def reset_metrics(self, split: str) -> None:
        """Forget all rows of earlier evaluations."""
        for metric in self._metrics(split).values():
            metric.reset()

    def forward(self, batch: TabularBatch) -> Tensor:
        """Return the scaled predictions (B,)."""
        outputs: Tensor = self.net(batch.features)
        return outputs

    def evaluate(self, split: str, outputs: Tensor, batch: TabularBatch) -> None:
        """Add the predictions of a batch, in the target's unit."""
        found, true = self.in_unit(outputs[batch.valid]), self.in_unit(batch.targets.values[batch.valid])
        if len(found):
            for metric in self._metrics(split).values():
                metric.update(found, true)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return RMSE, MAE and, if ``eval.r2`` is set, R²."""
        return {name: float(metric.compute()) for name, metric in self._metrics(split).items()}

    def describe_evaluation(self) -> str:
        """Return the unit of the metrics in words."""
        return f"rmse and mae are in the unit of {self.spec.target}"

    def predict_step(self, batch: TabularBatch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return the indices (b,) of the rows and their predictions (b,), without rows that only pad the batch."""
        return batch.row_ids[batch.valid], self.in_unit(self(batch))[batch.valid]

    def predict(self, inputs: Any, batch_size: int = 1024) -> Any:
        """Return the prediction for one row, or an array (N,) of predictions for several rows.

        Args:
            inputs: a row as a mapping from columns to numbers, a list of such mappings, or a DataFrame.
            batch_size: the number of rows in one forward pass.

        Raises:
            DataError: a column is missing.
        """
        import pandas as pd

        from tabular.data import scaled_features

        table = pd.DataFrame([inputs]) if isinstance(inputs, Mapping) else pd.DataFrame(inputs)
        missing = [name for name in self.spec.columns if name not in table]
        if missing:
            raise DataError(f"there is no column {missing[0]!r}; {self.spec.describe()}")
        features = torch.tensor(scaled_features(table, self.spec), dtype=torch.float32, device=self.device)
        with self.evaluating():
            found = torch.cat([self.in_unit(self.net(part)) for part in features.split(batch_size)])
        values = found.cpu().numpy()
        return float(values[0]) if isinstance(inputs, Mapping) else np.asarray(values)

    def describe_pass(self, batch: TabularBatch, outputs: Tensor, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of features and predictions."""
        return f"features {tuple(batch.features.shape)} -> predictions {tuple(outputs.shape)}"

    def in_unit(self, values: Tensor) -> Tensor:
        """Return scaled target values in the target's unit, as float64."""
        return values.double() * self.spec.deviations[-1] + self.spec.means[-1]

    def _metrics(self, split: str) -> Any:
        return self.measures[split]
