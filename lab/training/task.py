"""What every kind of problem shares: a LightningModule that trains a network by its own loss and measures it."""

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
from torch import Tensor

from lab.checkpoint.access import StateAccess, compare
from lab.checkpoint.format import CheckpointReader, understood
from lab.compat.lightning import strategy_of
from lab.errors import CheckpointError, ConfigError, LabError
from lab.registry.allowed import sealed
from lab.registry.build import build, made_classes, taken_arguments
from lab.registry.folders import stand_alone
from lab.run_record import Direction
from lab.structures import Table, Term
from lab.training.optimizers import make_optimizer
from lab.training.outline import outline
from lab.training.schedules import make_schedule
from lab.training.spec import task_spec
from lab.training.stored import Stored, damaged, in_short, read_spec, read_stored
from lab.training.terms import SetLoss, divided

if TYPE_CHECKING:
    from lab.data.datamodule import DataModule

MEASURED = "_classes_measured"
"""What the number of classes that a mean is over is called: ``map_classes_measured``."""


class Task(pl.LightningModule, ABC):
    """Train and measure a network. All arguments are plain, so that a checkpoint stands alone.

    A subclass names its ``kind`` and ``protocol``, makes its metrics, and says what an evaluation batch adds to them.
    One whose loss is more than the network's own of a batch's targets (labels guessed, batches mixed) says so in
    ``terms`` and ``totals``, and nowhere else: training, validation, ``check=true`` and the planner go through them.

    Args:
        net: what ``lab.build`` makes the network of: ``_target_`` and arguments, without those that the data gives.
        spec: the ``DataSpec`` as a dict; the network is sized from it.
        optimizer: settings for ``lab.training.optimizers.make_optimizer``.
        scheduler: settings for ``lab.training.schedules.make_schedule``.
        max_steps: optimizer steps of the whole training, which the schedule spans.
        eval: settings of the evaluation, the config's group ``eval``.

    Attributes:
        results: the metrics of the last evaluation, named ``val/...`` or ``test/...``.
        outputs_are_finite: whether the network's outputs were, in all batches of this validation on this rank.
        tables: what of the last evaluation takes a table to say, by name.
        step_terms: the loss and its terms of the current optimizer step.
        monitor: the metric that ``best.ckpt`` is the best of.
        monitor_mode: ``max`` where a higher value of it is better, ``min`` where a lower one is.
        directions: the same of other metrics, without the split in their names; those not named are as the monitor.
        shown: metrics that the progress bar shows, without the split in their names.

    Raises:
        ConfigError: what ``net`` names does not speak the task's protocol.
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
    ) -> None:
        super().__init__()
        self.spec = task_spec(self.kind).load_data().from_plain(spec)
        spec, eval = self.spec.to_plain(), dict(eval)
        self.save_hyperparameters(
            {
                "net": stand_alone(net),
                "spec": spec,
                "optimizer": optimizer,
                "scheduler": scheduler,
                "max_steps": max_steps,
                "eval": eval,
            }
        )
        self.eval_settings = eval
        made = made_classes(net["_target_"], where="model.net")
        if made and not any(issubclass(item, self.protocol) for item in made):  # before anything is constructed
            raise self._not_of_protocol(net)
        self.net = build(net, where="model.net", **self.net_arguments(net["_target_"]))
        if not isinstance(self.net, self.protocol):
            raise self._not_of_protocol(net)
        self.step_terms: dict[str, Tensor] = {}
        self.results: dict[str, float] = {}
        self.tables: dict[str, Table] = {}
        self.weights_kind = "raw"
        self.trained_steps = 0
        self.val_loss = SetLoss()
        self.outputs_are_finite = True
        self.make_metrics()

    def _not_of_protocol(self, net: Mapping[str, Any]) -> ConfigError:
        name = self.protocol.__name__
        return ConfigError(f"model.net._target_={net['_target_']} is no {name.lower()}: see lab.structures.{name}")

    def describe_evaluation(self) -> str:
        """Return how the metrics of the last evaluation are taken, where their names do not say it."""
        return ""

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return the means over classes that ``compute_metrics`` has computed, and over how many classes each is."""
        return {}

    def better(self, metric: str) -> Direction:
        """Return ``max`` where a higher value of a metric is better, ``min`` where a lower one is.

        Args:
            metric: its name, with the split in front or without.
        """
        name = metric.partition("/")[2] or metric
        if name == self.monitor.partition("/")[2]:
            return self.monitor_mode
        return "max" if name.endswith(MEASURED) else self.directions.get(name, self.monitor_mode)

    @property
    def is_trained(self) -> bool:
        """Whether the network has anything to train; one that has not is shown the data instead (``memorize``)."""
        return any(parameter.requires_grad for parameter in self.net.parameters())

    def net_arguments(self, target: str) -> dict[str, Any]:
        """Return the arguments that the data decides (``DataSpec.net_arguments``), for a network to be built.

        Args:
            target: what ``net._target_`` names.
        """
        return self.spec.net_arguments()

    def memorize(self, data: DataModule) -> None:
        """Show the training data to a network that has nothing to train.

        Raises:
            ConfigError: networks for this kind of problem are trained.
        """
        raise ConfigError(f"{type(self.net).__name__} has nothing to train: none of its parameters takes a gradient")

    @abstractmethod
    def make_metrics(self) -> None:
        """Make the metrics of validation and test as attributes; called once, when ``spec`` and ``net`` are there."""

    @abstractmethod
    def reset_metrics(self, split: str) -> None:
        """Forget what an evaluation of ``"val"`` or ``"test"`` that did not end has left."""

    @abstractmethod
    def evaluate(self, split: str, outputs: Any, batch: Any) -> None:
        """Add what the network made of an evaluation batch to the metrics of ``"val"`` or ``"test"``."""

    @abstractmethod
    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the metrics over all batches and ranks, without the split in their names; fill ``tables``."""

    @abstractmethod
    def describe_pass(self, batch: Any, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return a line on what went in and came out of ``terms``; ``terms`` is None where the loss reads values."""

    def terms(self, batch: Any) -> tuple[Any, Mapping[str, Term]]:
        """Run the network on a batch and return its outputs and the terms of its loss, as sums over the batch."""
        outputs = self(batch)
        return outputs, self.net.loss(outputs, batch.targets)

    def totals(self, batch: Any) -> Mapping[str, float]:
        """Return a batch's share of the normalisers that ``terms`` names, from host integers only."""
        totals: Mapping[str, float] = self.net.totals(batch.targets)
        return totals

    def dry_run(self, batch: Any) -> str:
        """Run the network and its loss on a batch, on the meta device say, and say what goes in and comes out."""
        return self.describe_pass(batch, *outline(self, batch))

    def predict(self, inputs: Any, batch_size: int = 16) -> Any:
        """Return what the network makes of inputs that a caller of Python has in hand; see the kind's own words.

        Args:
            inputs: one, or a list of several.
            batch_size: how many the network reads at once.

        Returns:
            The kind's type of prediction, with readable names; of several inputs a list, one for each.

        Raises:
            DataError: an input cannot be used.
            ConfigError: the kind of problem has no predictions.
        """
        raise ConfigError(f"{type(self).__name__} has no predict of its own: its kind of problem predicts nothing")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within this context the network is as in evaluation, and nothing is noted for gradients."""
        before = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(before)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the micro-batch's part of the loss of its global batch.

        Lightning divides by the number of accumulated micro-batches and averages over ranks; the parts are
        divided by the normalisers of the whole step here, so both divisions are undone.
        """
        _, sums = self.terms(batch)
        terms = divided(sums, batch.totals or self.totals(batch))
        loss = torch.stack(list(terms.values())).sum()
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.step_terms = {}
        for name, value in {"loss": loss, **terms}.items():
            value = value.detach()
            self.step_terms[name] = self.step_terms[name] + value if name in self.step_terms else value
        ranks = getattr(self.trainer.strategy, "num_data_ranks", self.trainer.world_size)
        return loss * self.trainer.accumulate_grad_batches * ranks

    def on_validation_epoch_start(self) -> None:
        """Forget what a validation that did not end has left."""
        self.val_loss.reset()
        self.outputs_are_finite = True
        self.reset_metrics("val")

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Collect metrics and the loss; return the network's outputs for whoever draws them."""
        outputs, terms = self.terms(batch)
        if self.may_measure(self.val_loss.update(terms, self.totals(batch), batch.valid)):
            self.evaluate("val", outputs, batch)
        return outputs

    def may_measure(self, finite: bool) -> bool:
        """Take note whether a validation batch's outputs are finite, and return whether metrics should see them.

        In a training they should not where they are not finite: metrics have errors of their own for such numbers, and
        ``callbacks.divergence`` stops all ranks together at the end of the validation.
        """
        self.outputs_are_finite &= finite
        return finite or strategy_of(self) is None or self.trainer.state.fn != "fit"

    def on_validation_epoch_end(self) -> None:
        """Compute ``val/...``."""
        more = {"loss": self.val_loss.compute(self.trainer)} if self.val_loss.sums else {}
        self._finish("val", more)

    def on_test_epoch_start(self) -> None:
        """Forget what a test that did not end has left."""
        self.reset_metrics("test")

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """Collect metrics; return the network's outputs for whoever draws them."""
        outputs = self(batch)
        self.evaluate("test", outputs, batch)
        return outputs

    def on_test_epoch_end(self) -> None:
        """Compute ``test/...``."""
        self._finish("test", {})

    def _finish(self, split: str, more: Mapping[str, float]) -> None:
        self.tables = {}
        values = {**more, **self.compute_metrics(split)}
        values |= {f"{name}{MEASURED}": float(count) for name, count in self.classes_measured(split).items()}
        self.results = {f"{split}/{key}": value for key, value in values.items()}
        self.reset_metrics(split)

    @classmethod
    def load_from_checkpoint(cls, path: str | Path, eval: Mapping[str, Any] | None = None) -> Self:  # type: ignore[override]
        """Build the task that a checkpoint is of, with its weights, on the CPU.

        Args:
            path: the folder, of any strategy and number of ranks.
            eval: other settings of the evaluation than those it was trained with.

        Raises:
            CheckpointError: it is missing, damaged or of another task.
        """
        reader = CheckpointReader(path)
        reader.verify()
        stored = read_stored(reader)
        if stored.task != cls.kind:
            raise CheckpointError(f"{path} is of a model for {stored.task[:80]}, not for {cls.kind}")
        kind = stored.arguments["spec"].get("task")
        if isinstance(kind, str) and kind not in ("", cls.kind):
            raise damaged(reader, f"its data is for {kind[:80]}, not for {cls.kind}")
        with understood(reader.path, "description of a dataset stands in its hyper_parameters"):
            found = read_spec(stored.arguments["spec"], task_spec(cls.kind).load_data())
        stored.arguments["spec"] = found.to_plain()
        task = cls._of_stored(reader, stored, eval)
        StateAccess().restore(reader, task, None)
        task.weights_kind, task.trained_steps = stored.weights_kind, reader.step
        return task

    @classmethod
    def _of_stored(cls, reader: CheckpointReader, stored: Stored, eval: Mapping[str, Any] | None) -> Self:
        """Build the task of a checkpoint, which may name less than a config; another ``eval`` is the user's.

        It is outlined on the meta device first, so that a size which the tensors belie takes no memory.
        """
        path, arguments = reader.path, {**stored.arguments, **({} if eval is None else {"eval": eval})}
        try:
            with sealed(), understood(path, f"{cls.__name__} can be made of its hyper_parameters"):
                outline: Self | None = None
                try:
                    with torch.device("meta"):
                        outline = cls(**arguments)
                except Exception:  # also where a network reads its own numbers, which meta tensors lack
                    outline = None  # what is wrong is wrong below too, and said there
                if outline is not None:
                    compare(reader, outline)
                return cls(**arguments)
        except LabError as error:
            if str(path) in str(error) or (eval is not None and str(error).startswith("eval")):
                raise
            raise CheckpointError(f"{path}: {in_short(error)}") from error

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, which advances at every optimizer step."""
        settings = self.hparams
        optimizer = make_optimizer(self.net, settings["optimizer"], self._gradients_are_private())
        schedule = make_schedule(settings["scheduler"], settings["max_steps"])
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _gradients_are_private(self) -> bool:
        """Whether nobody but the optimizer reads or changes gradients: no other rank, no clipping, no scaler."""
        if type(strategy_of(self)) is not SingleDeviceStrategy:
            return False
        return not self.trainer.gradient_clip_val and self.trainer.precision != "16-mixed"


def chosen_arguments(target: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the offered arguments that a target takes."""
    taken = taken_arguments(target)
    return {key: value for key, value in offered.items() if key in taken}
