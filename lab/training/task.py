"""What every kind of problem shares: a LightningModule that trains a network by its own loss and measures it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

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
from lab.registry.models import stand_alone
from lab.structures import DataSpec, Table
from lab.training.optimizers import make_optimizer
from lab.training.schedules import make_schedule
from lab.training.set_loss import SetLoss
from lab.training.stored import Stored, damaged, in_short, read_stored

MEASURED = "_classes_measured"
"""What the number of classes that a mean is over is called: ``map_classes_measured``."""


class Task(pl.LightningModule):
    """Train and measure a network. All arguments are plain, so that a checkpoint stands alone.

    A subclass names its ``kind`` and ``protocol``, makes its metrics, and says what an evaluation batch adds to them.

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
        shown: metrics that the progress bar shows, without the split in their names.

    Raises:
        ConfigError: what ``net`` names does not speak the task's protocol.
    """

    kind: ClassVar[str]
    protocol: ClassVar[type]
    monitor: str
    monitor_mode: Literal["max", "min"] = "max"
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
        spec, eval = _plain(spec), dict(eval)
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
        self.spec = _spec_of(spec)
        self.eval_settings = eval
        made = made_classes(net["_target_"], where="model.net")
        if made and not any(issubclass(item, self.protocol) for item in made):  # before anything is constructed
            raise self._not_of_protocol(net)
        self.net = build(net, where="model.net", **self.net_arguments(self.spec, net["_target_"]))
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

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.spec.class_names

    def describe_data(self) -> str:
        """Return in a few words what the data told."""
        return str(list(self.class_names))

    def describe_evaluation(self) -> str:
        """Return how the metrics of the last evaluation are taken, where their names do not say it."""
        classes = sum(name != "N/A" for name in self.class_names)
        counts = {key: value for key, value in self.results.items() if key.endswith(MEASURED)}
        means = [(key.partition("/")[2].removesuffix(MEASURED), int(value)) for key, value in counts.items()]
        return "; ".join(f"{name} is the mean over {number} of {classes} classes" for name, number in means)

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return the means that ``compute_metrics`` has computed, and over how many classes each is."""
        return {}

    @property
    def is_trained(self) -> bool:
        """Whether the network has anything to train; one that has not is shown the data instead (``memorize``)."""
        return any(parameter.requires_grad for parameter in self.net.parameters())

    def net_arguments(self, spec: DataSpec, target: str) -> dict[str, Any]:
        """Return the network's arguments that the data gives."""
        return {"num_classes": spec.num_classes}

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
    def dry_run(self, batch: Any) -> str:
        """Run the network on a batch, on the meta device say, and return a line on what goes in and comes out."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the micro-batch's part of the loss of its global batch.

        Lightning divides by the number of accumulated micro-batches and averages over ranks; the parts are already
        divided by the normalisers of the whole step, so both divisions are undone here.
        """
        terms = self.net.loss(self(batch), batch.targets, batch.totals)
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
        outputs = self(batch)
        if self.may_measure(self.val_loss.update(self.net, outputs, batch)):
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
        if stored.arguments["spec"]["task"] != cls.kind:
            raise damaged(reader, f"its data is for {stored.arguments['spec']['task'][:80]}, not for {cls.kind}")
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


def plain_spec(spec: DataSpec) -> dict[str, Any]:
    """Return a ``DataSpec`` as a dict of plain values."""
    return _plain(asdict(spec))


def _spec_of(plain: Mapping[str, Any]) -> DataSpec:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    return DataSpec(**values)


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for key, value in spec.items()
    }
