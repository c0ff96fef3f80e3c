"""Private and undocumented parts of Lightning that are used, for lightning 2.6."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.device_dtype_mixin import _update_properties
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, ModelParallelStrategy, Strategy
from torch import nn


def keep_exact(trainer: pl.Trainer) -> None:
    """Let batches of a class with ``exact = True``, and the sums of metrics, keep their types under ``*16-true``.

    Lightning rounds all floats of a batch to the network's type, boxes and sizes of the truth too, and casts metrics
    with the network.
    """
    plugin: Any = trainer.precision_plugin
    if not plugin.precision.endswith("16-true"):
        return
    convert_input, convert_module = plugin.convert_input, plugin.convert_module

    def cast(module: nn.Module) -> nn.Module:
        from torchmetrics import Metric

        metrics = [part for part in module.modules() if isinstance(part, Metric)]
        kept = [
            (dict(metric._defaults), {name: getattr(metric, name) for name in metric._defaults}) for metric in metrics
        ]
        converted: nn.Module = convert_module(module)
        for metric, (defaults, states) in zip(metrics, kept, strict=True):
            metric._defaults.update(defaults)
            for name, state in states.items():
                setattr(metric, name, state)
        return converted

    plugin.convert_input = lambda data: data if getattr(data, "exact", False) else convert_input(data)
    plugin.convert_module = cast


def start_at(trainer: pl.Trainer, step: int) -> None:
    """Set a Trainer that has not run yet to the optimizer step from which a run resumes.

    Checkpoints do not hold Lightning's loop counters, which count the batches of a process; everything needed follows
    from the step. Lightning itself can only begin at a step by loading one of its own checkpoints.
    """
    epoch_loop = trainer.fit_loop.epoch_loop
    total = epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    total.ready = total.completed = epoch_loop._batches_that_stepped = step


def set_epoch(trainer: pl.Trainer, epoch: int) -> None:
    """Set ``current_epoch`` to lab's epoch, because to Lightning a run is one stream of steps without epochs."""
    trainer.fit_loop.epoch_progress.current.completed = epoch


def validate_next(trainer: pl.Trainer, due: bool) -> None:
    """Set whether the Trainer validates after the present batch.

    Lightning validates when the number of batches is a multiple of ``val_check_batch``; lab decides by optimizer steps.
    """
    trainer.val_check_batch = trainer.fit_loop.total_batch_idx + 1 if due else math.inf


def validates_next(trainer: pl.Trainer) -> bool:
    """Whether ``validate_next`` was last called with True."""
    return trainer.val_check_batch != math.inf


def keep_gradients_possible(trainer: pl.Trainer) -> None:
    """Evaluate without inference mode, whose tensors (gathered ones, for instance) cannot be used in a training step.

    The Trainer's argument ``inference_mode`` is already set when a strategy finds that it needs this.
    """
    for loop in (trainer.fit_loop.epoch_loop.val_loop, trainer.validate_loop, trainer.test_loop):
        loop.inference_mode = False
    trainer.predict_loop.inference_mode = False


def strategy_of(module: pl.LightningModule) -> Strategy | None:
    """Return the strategy of a module's Trainer; None without a Trainer, where ``module.trainer`` would raise."""
    return getattr(module._trainer, "strategy", None)


def set_device(module: pl.LightningModule, device: torch.device) -> None:
    """Set the device of a module and its metrics without moving any tensor."""
    _update_properties(module, device=device)


class HookedDDP(DDPStrategy):
    """Lightning's DDP, with the communication hook on CPUs too.

    Lightning registers the hook on GPUs only, but it works with gloo as well.
    """

    def _register_ddp_hooks(self) -> None:
        if self._ddp_comm_hook is not None:
            assert self.model is not None
            self.model.register_comm_hook(None, self._ddp_comm_hook)  # type: ignore[operator]


class SplittingStrategy(ModelParallelStrategy):
    """Lightning's base of strategies with DTensors, for a subclass that splits the model itself.

    Lightning's own class needs a LightningModule that splits itself (``configure_model``), and the ranks' layout before
    their number is known.
    """

    @abstractmethod
    def split_model(self, model: nn.Module) -> nn.Module:
        """Split the model, after ``model_to_device`` has moved it and before the optimizers are made."""

    def lay_out(self, data: int, tensor: int) -> None:
        """Arrange the ranks as (data, tensor); call it before ``setup_environment``."""
        self._data_parallel_size, self._tensor_parallel_size = data, tensor

    def setup(self, trainer: pl.Trainer) -> None:
        """Split the model, then make the optimizers for this rank's parameters."""
        keep_gradients_possible(trainer)
        super(ModelParallelStrategy, self).setup(trainer)  # Lightning's own requires a `configure_model`

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return self.split_model(model)


class OwnEngineStrategy(DeepSpeedStrategy):
    """Lightning's ZeRO, for a subclass that makes deepspeed's engine and precision itself.

    Lightning's own class requires GPUs, casts the network, and has other settings of deepspeed than lab.
    """

    @abstractmethod
    def choose_precision(self, plugin: Precision) -> Precision:
        """Return the plugin that replaces Lightning's precision plugin."""

    @abstractmethod
    def own_settings(self) -> dict[str, Any]:
        """Return settings of deepspeed that depend on the precision."""

    @abstractmethod
    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Move the model to the device, before the engine is made."""

    @abstractmethod
    def make_engine(self, model: nn.Module, optimizer: Any, lr_scheduler: Any) -> tuple[Any, Any]:
        """Return the engine for a training and deepspeed's optimizer."""

    @abstractmethod
    def make_evaluation_engine(self, model: nn.Module) -> Any:
        """Return the engine for an evaluation."""

    def setup_accelerator(self) -> None:
        """Set up the device, without Lightning's check for GPUs and its own start of deepspeed."""
        super(DeepSpeedStrategy, self).setup_environment()

    @property
    def precision_plugin(self) -> Precision:
        """The chosen plugin instead of Lightning's."""
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        self._precision_plugin = None if plugin is None else self.choose_precision(plugin)

    def _format_config(self) -> None:
        assert isinstance(self.config, dict)
        self._format_batch_size_and_grad_accum_config()
        self.config.update(self.own_settings())

    def _setup_model(self, model: nn.Module) -> nn.Module:  # type: ignore[override]
        return self.prepare_model(model)

    def _setup_model_and_optimizer(self, model: nn.Module, optimizer: Any, lr_scheduler: Any = None) -> Any:
        return self.make_engine(model, optimizer, lr_scheduler)

    def _initialize_deepspeed_inference(self, model: nn.Module) -> None:
        self.model = self.make_evaluation_engine(model)
