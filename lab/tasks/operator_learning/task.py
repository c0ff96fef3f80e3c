"""Operator learning: any network from fields to fields is trained on one step or a few, rolled out and measured."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.run_record import Direction
from lab.structures import Term
from lab.structures.operator_learning import FieldBatch, FieldForecast, FieldOperator, FieldSpec
from lab.tasks.operator_learning.criterion import NAMES, latitude_weights, step_loss
from lab.tasks.operator_learning.metrics import ForecastMetrics, Measured
from lab.tasks.operator_learning.rollout import roll_out
from lab.tasks.operator_learning.scores import error_rows, figures, metric_name
from lab.training.task import Task

NUM_SAMPLES = "samples"
"""The normaliser of the loss: the number of samples."""


class OperatorLearningTask(Task):
    """Train and measure an operator; see ``Task`` for the arguments.

    ``model.learning`` sets the loss, the steps of the rollout in training, and whether the network gives the next state
    or a change of the present one. Evaluation rolls out as many steps as the data has targets for.

    Attributes:
        rollout_steps: steps that ``predict_step`` rolls out; of a steady problem always 1.

    Raises:
        ConfigError: a steady problem is to be rolled out, or to give a change.
    """

    kind = "operator_learning"
    protocol = FieldOperator
    monitor_mode: Direction = "min"
    shown = ("relative_l2",)
    spec: FieldSpec
    rollout_steps = 1

    def make_metrics(self) -> None:
        """Make loss and metrics."""
        spec, learning = self.spec, self.learning
        if not spec.evolves and (learning["steps"] > 1 or learning["predicts"] != "state"):
            raise ConfigError(
                f"the data maps {', '.join(spec.given)} to {', '.join(spec.channels)} once: there is no next step; "
                "take model.learning.steps=1 and model.learning.predicts=state"
            )
        self.monitor = f"val/{self.eval_settings['monitor']}"
        self.directions = {f"acc_{metric_name(name)}": "max" for name in spec.channels}
        self.loss_weights = latitude_weights(spec.latitudes) if learning["weigh_latitudes"] else None
        pooled = self.eval_settings["rmse"] == "pooled"
        self.metrics = {
            split: ForecastMetrics(spec.means, spec.stds, spec.latitudes, pooled) for split in ("val", "test")
        }
        self.measured: dict[str, Measured] = {}

    def reset_metrics(self, split: str) -> None:
        """Forget all samples."""
        self.metrics[split].reset()

    def forward(self, batch: FieldBatch) -> Tensor:
        """Return the forecasts (B, S, C, *grid) float32 of as many steps as the batch has targets, normalised."""
        return self.roll(batch.fields, batch.forcings, batch.targets.fields.shape[1])

    def roll(self, fields: Tensor, forcings: Tensor | None, steps: int) -> Tensor:
        """Return the forecasts (B, steps, C, *grid) float32 from normalised states (B, C, *grid)."""
        adds = self.learning["predicts"] == "change"
        return torch.stack([*roll_out(self.net, fields, forcings, steps, len(self.spec.channels), adds)], 1)

    def terms(self, batch: FieldBatch) -> tuple[Tensor, Mapping[str, Term]]:
        """Return the forecasts and the loss, the sum over ``model.learning.steps`` steps, as a sum over samples.

        A validation rolls further; its loss is that of the same steps as in training.

        Raises:
            ConfigError: the batch has targets of fewer steps.
        """
        found, truth, steps = self(batch), batch.targets.fields, self.learning["steps"]
        if truth.shape[1] < steps:
            raise ConfigError(
                f"model.learning.steps={steps}: the loss needs the truth after each step, and the data has it of "
                f"{truth.shape[1]} (data.train_steps, data.eval_steps)"
            )
        name = self.learning["loss"]
        parts = [step_loss(name, found[:, step], truth[:, step], self.loss_weights) for step in range(steps)]
        return found, {f"loss_{NAMES[name]}": Term(torch.stack(parts).sum(), NUM_SAMPLES)}

    def totals(self, batch: FieldBatch) -> Mapping[str, float]:
        """Return the number of samples."""
        return {NUM_SAMPLES: float(batch.num_samples)}

    def evaluate(self, split: str, outputs: Tensor, batch: FieldBatch) -> None:
        """Add the forecasts of a batch."""
        start = batch.fields if self.spec.evolves else None
        self.metrics[split].update(outputs, batch.targets.fields, batch.valid, start, batch.climatology)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the errors; a test also fills ``tables`` and ``files``."""
        self.measured[split] = measured = self.metrics[split].compute()
        if split == "test" and measured.errors:
            self.tables["errors"] = error_rows(measured, self.spec)
        return figures(measured, self.spec)

    def predict_step(self, batch: FieldBatch, batch_idx: int) -> tuple[Tensor, list[FieldForecast]]:
        """Return sample numbers (b,) and their forecasts on the host, without samples that only fill up."""
        steps = self.rollout_steps if self.spec.evolves else 1
        found = self.in_units(self.roll(batch.fields, batch.forcings, steps)[batch.valid]).cpu()
        return batch.sample_ids[batch.valid], [
            FieldForecast(fields, self.spec.channels, self.spec.step) for fields in found
        ]

    def in_units(self, fields: Tensor) -> Tensor:
        """Return normalised fields (..., C, *grid) float32 in the channels' units."""
        shape = (-1, *(1 for _ in self.spec.grid))
        stds, means = (fields.new_tensor(values).view(shape) for values in (self.spec.stds, self.spec.means))
        return fields * stds + means

    def describe_pass(self, batch: FieldBatch, outputs: Tensor, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of fields and forecasts."""
        return f"fields {tuple(batch.fields.shape)} -> forecasts {tuple(outputs.shape)}"
