"""Operator learning: any network from fields to fields is trained on one step or a few, rolled out and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.report.animation import Animation
from lab.run_record import Direction
from lab.structures import Term
from lab.structures.operator_learning import FieldBatch, FieldForecast, FieldOperator, FieldSpec
from lab.tasks.operator_learning.criterion import NAMES, latitude_weights, step_loss
from lab.tasks.operator_learning.given import given_fields
from lab.tasks.operator_learning.metrics import ForecastMetrics, MeasuredForecasts
from lab.tasks.operator_learning.pictures import as_array, error_curves, moving, spectrum_curves
from lab.tasks.operator_learning.rollout import roll_out
from lab.tasks.operator_learning.scores import as_csv, describe, error_rows, figures, lead_time_rows, metric_name
from lab.tasks.operator_learning.spectra import Spectra, SpectrumMetrics, octaves, spectrum_rows
from lab.training.task import Task

if TYPE_CHECKING:
    from PIL.Image import Image

NUM_SAMPLES = "samples"
"""The normaliser of the loss: the number of samples."""
FRAMES_PER_SECOND = 4
"""Of the animation of a test."""


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
        self.measured: dict[str, MeasuredForecasts] = {}
        axes = len(spec.grid)
        self.spectra = SpectrumMetrics(spec.stds, axes, spec.latitudes if axes == 2 else ())
        self.test_spectra: Spectra | None = None
        self.shown_sample: tuple[Tensor, Tensor] | None = None

    def reset_metrics(self, split: str) -> None:
        """Forget all samples."""
        self.metrics[split].reset()
        if split == "test":
            self.spectra.reset()

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
        if split == "test":
            if self.shown_sample is None:
                self.shown_sample = outputs[0].clone(), batch.targets.fields[0].clone()
            if self.eval_settings["spectra"]:
                self.spectra.update(outputs, batch.targets.fields, batch.valid)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the errors; a test also fills ``tables`` and ``files``."""
        self.measured[split] = measured = self.metrics[split].compute()
        if split == "test":
            self.test_spectra = self.spectra.compute()
            if measured.errors:
                self.tables["lead_times"] = lead_time_rows(measured, self.spec)
                self.files["errors.csv"] = as_csv(error_rows(measured, self.spec))
            if self.test_spectra is not None:
                self.tables["wave_numbers"] = octaves(self.test_spectra, self.spec)
                self.files["spectra.csv"] = as_csv(spectrum_rows(self.test_spectra, self.spec))
        return figures(measured, self.spec)

    def describe_evaluation(self) -> str:
        """Return how errors were computed, and whether forecasts diverged."""
        measured = self.measured.get("test") or self.measured.get("val")
        if measured is None or not measured.errors:
            return ""
        return describe(measured, self.spec, self.eval_settings["rmse"] == "pooled")

    def drawings(self, split: str) -> Mapping[str, Image | Animation]:
        """Return errors by lead time, spectra, and the rollout of the first sample beside its truth."""
        drawn: dict[str, Image | Animation] = {}
        if split != "test" or not (measured := self.measured["test"]).errors:
            return drawn
        if len(measured.bad) > 1:
            drawn["errors"] = error_curves(measured, self.spec)
            if self.shown_sample is not None:
                found, truth = (as_array(self.in_units(fields)) for fields in self.shown_sample)
                drawn["rollout"] = moving(found, self.spec, FRAMES_PER_SECOND, truth)
        if self.test_spectra is not None:
            drawn["spectra"] = spectrum_curves(self.test_spectra, self.spec)
        return drawn

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

    def predict(self, inputs: Any, batch_size: int = 16, steps: int | None = None, forcings: Any | None = None) -> Any:
        """Return the ``FieldForecast`` of a state, or a list of them for several.

        Args:
            inputs: (C, *grid) or (B, C, *grid) numbers in the channels' units, an array, a tensor or lists; the axis of
                channels may be left out where there is one. Of a steady problem the given channels.
            batch_size: states that the network reads at once.
            steps: of the rollout; None: one.
            forcings: (B, S, F, *grid) or, for one state, (S, F, *grid), normalised as in training, at the start of each
                step.

        Raises:
            DataError: the numbers are not of this shape, or not finite, or forcings are missing.
        """
        fields, known, several = given_fields(inputs, forcings, self.spec)
        wanted = 1 if steps is None or not self.spec.evolves else steps
        found: list[FieldForecast] = []
        with self.evaluating():
            for first in range(0, len(fields), batch_size):
                part = slice(first, first + batch_size)
                of_part = None if known is None else known[part].to(self.device)
                rolled = self.in_units(self.roll(fields[part].to(self.device), of_part, wanted)).cpu()
                found += [FieldForecast(one, self.spec.channels, self.spec.step) for one in rolled]
        return found if several else found[0]

    def describe_pass(self, batch: FieldBatch, outputs: Tensor, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of fields and forecasts."""
        return f"fields {tuple(batch.fields.shape)} -> forecasts {tuple(outputs.shape)}"
