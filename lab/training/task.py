"""The base of the tasks of all kinds: a LightningModule that trains a network by its own loss and measures it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from pydantic import ValidationError
from torch import Tensor

from lab.checkpoint.access import StateAccess
from lab.compat.lightning import strategy_of
from lab.config.kinds import Learning
from lab.errors import ConfigError
from lab.registry.build import build, made_classes, taken_arguments
from lab.registry.folders import stand_alone
from lab.registry.migrated import migrated
from lab.run_record import Direction
from lab.structures import Table, Term
from lab.training.loading import build_stored, read_task
from lab.training.optimizers import make_optimizer
from lab.training.outline import outline
from lab.training.schedules import make_schedule
from lab.training.spec import task_spec
from lab.training.terms import SetLoss, divided

if TYPE_CHECKING:
    from PIL.Image import Image

    from lab.data.datamodule import DataModule
    from lab.report.animation import Animation

MEASURED = "_classes_measured"
"""The suffix of the metric that counts the classes of a mean: ``map_classes_measured``."""


class Task(pl.LightningModule, ABC):
    """Train and measure a network. All arguments are plain data, so that a checkpoint can be loaded on its own.

    A subclass names its ``kind`` and ``protocol``, makes its metrics and adds evaluation batches to them. If its loss
    is more than the network's loss on the targets of a batch (pseudo-labels, mixed batches), it overrides ``terms`` and
    ``totals``, and nothing else: training, validation, ``check=true`` and the planner call these two.

    Args:
        net: the network's ``_target_`` and arguments for ``lab.build``, without the arguments that the data decides.
        spec: the ``DataSpec`` as a dict; the network is sized from it.
        optimizer: settings for ``lab.training.optimizers.make_optimizer``.
        scheduler: settings for ``lab.training.schedules.make_schedule``.
        max_steps: optimizer steps of the whole training, which the schedule spans.
        eval: settings of the evaluation, the config's group ``eval``.
        learning: how it learns, ``model.learning``; what a kind of problem leaves out has its default.

    Attributes:
        results: the metrics of the last evaluation, named ``val/...`` or ``test/...``.
        outputs_are_finite: whether all outputs of the network were finite in this validation, on this rank.
        figures: what ``terms`` has counted besides the loss, logged like its terms.
        tables: results of the last evaluation that need a table, by name.
        files: results of the last evaluation in a format of their own, on rank 0: the text of each file by its name.
        step_terms: the loss and its terms in the current optimizer step.
        monitor: the metric that decides which checkpoint becomes ``best.ckpt``.
        monitor_mode: ``max`` if a higher value of the monitor is better, ``min`` if a lower one is.
        directions: ``max`` or ``min`` for other metrics, named without the split; the rest follow ``monitor_mode``.
        shown: metrics that the progress bar shows, named without the split.

    Raises:
        ConfigError: the network that ``net`` names does not implement the task's protocol.
    """

    kind: ClassVar[str]
    protocol: ClassVar[type]
    monitor: str
    monitor_mode: Direction = "max"
    directions: Mapping[str, Direction] = MappingProxyType({"loss": "min"})
    shown: tuple[str, ...] = ()

    def __init__(
        self,
        net: dict[str, Any],
        spec: Mapping[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        max_steps: int,
        eval: Mapping[str, Any],
        learning: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.spec = task_spec(self.kind).load_data().from_plain(spec)
        spec, eval, learning = self.spec.to_plain(), dict(eval), self.whole_learning(learning)
        self.save_hyperparameters(
            {
                "net": stand_alone(net),
                "spec": spec,
                "optimizer": optimizer,
                "scheduler": scheduler,
                "max_steps": max_steps,
                "eval": eval,
                "learning": learning,
            }
        )
        self.eval_settings, self.learning = eval, learning
        made = made_classes(net["_target_"], where="model.net")
        if made and not any(has_methods(item, self.protocol) for item in made):  # before anything is constructed
            raise self._not_of_protocol(net)
        self.net = build(net, where="model.net", **self.net_arguments(net["_target_"]))
        if not isinstance(self.net, self.protocol):
            raise self._not_of_protocol(net)
        self.step_terms: dict[str, Tensor] = {}
        self.figures: Mapping[str, Term] = {}
        self.results: dict[str, float] = {}
        self.tables: dict[str, Table] = {}
        self.files: dict[str, str] = {}
        self.weights_kind = "raw"
        self.trained_steps = 0
        self.val_loss = SetLoss()
        self.outputs_are_finite = True
        self.make_metrics()

    def _not_of_protocol(self, net: Mapping[str, Any]) -> ConfigError:
        name = self.protocol.__name__
        return ConfigError(f"model.net._target_={net['_target_']} is no {name.lower()}: see lab.structures.{name}")

    def whole_learning(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of ``model.learning`` with those that are not given.

        Raises:
            ConfigError: one is not of its schema.
        """
        schema = task_spec(self.kind).load_settings().learning
        if schema is None and not given:
            return {}
        try:
            return (schema or Learning).chosen(given).model_validate(dict(given)).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, ("model.learning", *first["loc"])))
            raise ConfigError(f"{where}={first['input']}: {first['msg']}") from None

    def remarks(self, data: DataModule) -> list[str]:
        """Return lines on how the network and the data fit, which a user should read before the training."""
        return []

    def draw_inputs(self, batch: Any, count: int) -> Image | None:
        """Return a sheet of the first images of a training batch as the network gets them; None: nothing is drawn."""
        return None

    def drawings(self, split: str) -> Mapping[str, Image | Animation]:
        """Return pictures of the last evaluation of ``"val"`` or ``"test"`` as a whole, by name; called on rank 0."""
        return {}

    def confusion_matrix(self, split: str) -> Tensor | None:
        """Return the confusion matrix (K, K) int64 of the last evaluation, true classes in rows; None: there is none.

        Called on rank 0, of ``class_names``.
        """
        return None

    def describe_evaluation(self) -> str:
        """Return how the metrics of the last evaluation were computed, where their names do not say it."""
        return ""

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return the mean metrics that ``compute_metrics`` computed, and the number of classes of each mean."""
        return {}

    def better(self, metric: str) -> Direction:
        """Return ``max`` if a higher value of a metric is better, ``min`` if a lower one is.

        Args:
            metric: its name, with or without the split.
        """
        name = metric.partition("/")[2] or metric
        if name == self.monitor.partition("/")[2]:
            return self.monitor_mode
        return "max" if name.endswith(MEASURED) else self.directions.get(name, self.monitor_mode)

    @property
    def is_trained(self) -> bool:
        """Whether the network has trainable parameters. A network without any reads the data in ``memorize``."""
        return any(parameter.requires_grad for parameter in self.net.parameters())

    def net_arguments(self, target: str) -> dict[str, Any]:
        """Return the network's arguments that the data decides (``DataSpec.net_arguments``).

        Args:
            target: the value of ``net._target_``.
        """
        return self.spec.net_arguments()

    def memorize(self, data: DataModule) -> None:
        """Pass the training data to a network without trainable parameters.

        Raises:
            ConfigError: this kind of problem has no such networks.
        """
        raise ConfigError(f"{type(self.net).__name__} has nothing to train: none of its parameters takes a gradient")

    @abstractmethod
    def make_metrics(self) -> None:
        """Make the metrics of validation and test as attributes. Called once, after ``spec`` and ``net`` are set."""

    @abstractmethod
    def reset_metrics(self, split: str) -> None:
        """Reset the metrics of ``"val"`` or ``"test"``; an earlier evaluation may have been cut short."""

    @abstractmethod
    def evaluate(self, split: str, outputs: Any, batch: Any) -> None:
        """Add the network's outputs for an evaluation batch to the metrics of ``"val"`` or ``"test"``."""

    @abstractmethod
    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the metrics over all batches and ranks, named without the split, and fill ``tables`` and ``files``."""

    @abstractmethod
    def describe_pass(self, batch: Any, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return a line on the inputs and results of ``self.terms``; ``terms`` is None if the loss reads values."""

    def terms(self, batch: Any) -> tuple[Any, Mapping[str, Term]]:
        """Run the network on a batch and return its outputs and the terms of its loss, as sums over the batch."""
        outputs = self(batch)
        return outputs, self.net.loss(outputs, batch.targets)

    def totals(self, batch: Any) -> Mapping[str, float]:
        """Return a batch's share of the normalisers that ``terms`` names, computed from host integers only."""
        totals: Mapping[str, float] = self.net.totals(batch.targets)
        return totals

    def dry_run(self, batch: Any) -> str:
        """Run the network and its loss on a batch, which may be on the meta device; describe inputs and outputs."""
        return self.describe_pass(batch, *outline(self, batch))

    def predict(self, inputs: Any, batch_size: int = 16) -> Any:
        """Predict inputs given as Python objects; each kind of problem documents what it accepts.

        Args:
            inputs: one input, or a list of inputs.
            batch_size: inputs in one forward pass.

        Returns:
            The kind's type of prediction, with readable names; for a list of inputs a list of predictions.

        Raises:
            DataError: an input cannot be used.
            ConfigError: the kind of problem does not support this.
        """
        raise ConfigError(f"{type(self).__name__} has no method predict: its kind of problem does not support it")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Context in which the network is in evaluation mode, without gradients."""
        before = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(before)

    @property
    def step(self) -> int:
        """The optimizer steps that were made; 0 outside of a training."""
        return 0 if strategy_of(self) is None else self.trainer.global_step

    @property
    def max_steps(self) -> int:
        """The optimizer steps of the whole training."""
        steps: int = self.hparams["max_steps"]
        return steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the micro-batch's part of the loss of its global batch.

        The terms are divided by the normalisers of the whole step. Lightning also divides by the number of accumulated
        micro-batches and averages over ranks, so these two divisions are undone here.
        """
        _, sums = self.terms(batch)
        totals = batch.totals or self.totals(batch)
        terms, figures = divided(sums, totals), divided(self.figures, totals)
        loss = torch.stack(list(terms.values())).sum()
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.step_terms = {}
        for name, value in {"loss": loss, **terms, **figures}.items():
            value = value.detach()
            self.step_terms[name] = self.step_terms[name] + value if name in self.step_terms else value
        ranks = getattr(self.trainer.strategy, "num_data_ranks", self.trainer.world_size)
        return loss * self.trainer.accumulate_grad_batches * ranks

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics; an earlier validation may have been cut short."""
        self.val_loss.reset()
        self.outputs_are_finite = True
        self.reset_metrics("val")

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Update the metrics and the loss. Return the network's outputs, for callbacks that draw them."""
        outputs, terms = self.terms(batch)
        if self.may_measure(self.val_loss.update(terms, self.totals(batch), batch.valid)):
            self.evaluate("val", outputs, batch)
        return outputs

    def may_measure(self, finite: bool) -> bool:
        """Note whether the outputs of a validation batch are finite, and return whether metrics may be updated.

        During training, metrics are not updated with outputs that are not finite: they would raise errors of their own,
        while ``callbacks.divergence`` stops all ranks together at the end of the validation.
        """
        self.outputs_are_finite &= finite
        return finite or strategy_of(self) is None or self.trainer.state.fn != "fit"

    def on_validation_epoch_end(self) -> None:
        """Compute ``val/...``."""
        more = {"loss": self.val_loss.compute(self.trainer)} if self.val_loss.sums else {}
        self._finish("val", more)

    def on_test_epoch_start(self) -> None:
        """Reset the metrics; an earlier test may have been cut short."""
        self.reset_metrics("test")

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """Update the metrics. Return the network's outputs, for callbacks that draw them."""
        outputs = self(batch)
        self.evaluate("test", outputs, batch)
        return outputs

    def on_test_epoch_end(self) -> None:
        """Compute ``test/...``."""
        self._finish("test", {})

    def _finish(self, split: str, more: Mapping[str, float]) -> None:
        self.tables, self.files = {}, {}
        values = {**more, **self.compute_metrics(split)}
        values |= {f"{name}{MEASURED}": float(count) for name, count in self.classes_measured(split).items()}
        self.results = {f"{split}/{key}": value for key, value in values.items()}
        self.reset_metrics(split)

    @classmethod
    def load_from_checkpoint(cls, path: str | Path, eval: Mapping[str, Any] | None = None) -> Self:  # type: ignore[override]
        """Build the task of a checkpoint with its weights, on the CPU.

        Args:
            path: the checkpoint's folder, written under any strategy and number of ranks.
            eval: settings of the evaluation that replace those of the training.

        Raises:
            CheckpointError: the checkpoint is missing, damaged or of another task.
        """
        reader, stored = read_task(path, cls.kind)
        task = build_stored(cls, reader, stored, eval)
        StateAccess().restore(migrated(reader, task), task, None)
        task.weights_kind, task.trained_steps = stored.weights_kind, reader.step
        return task

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, which advances once per optimizer step."""
        settings = self.hparams
        optimizer = make_optimizer(self.net, settings["optimizer"], self._gradients_are_private())
        schedule = make_schedule(settings["scheduler"], settings["max_steps"])
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _gradients_are_private(self) -> bool:
        """Whether only the optimizer reads and changes gradients: no other rank, no clipping, no scaler."""
        if type(strategy_of(self)) is not SingleDeviceStrategy:
            return False
        return not self.trainer.gradient_clip_val and self.trainer.precision != "16-mixed"


def chosen_arguments(target: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the offered arguments that a target accepts."""
    taken = taken_arguments(target)
    return {key: value for key, value in offered.items() if key in taken}


def has_methods(made: type, protocol: type) -> bool:
    """Return whether a class has the methods of a protocol; the attributes are those of objects, which may set them."""
    offered = [(name, value) for base in protocol.__mro__ for name, value in vars(base).items()]
    asked = [name for name, value in offered if callable(value) and (name[0] != "_" or name == "__call__")]
    return all(callable(getattr(made, name, None)) for name in asked)
