"""What Lightning keeps private or undocumented and is used here, for lightning 2.6."""

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


def start_at(trainer: pl.Trainer, step: int) -> None:
    """Set a Trainer that has not run yet to the optimizer step that a resume starts from.

    Lightning's own loop counters are left out of checkpoints: they count batches of a process, all that matters follows
    from the step. It has no other way to begin there than to load a checkpoint of its own.
    """
    epoch_loop = trainer.fit_loop.epoch_loop
    total = epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    total.ready = total.completed = epoch_loop._batches_that_stepped = step


def set_epoch(trainer: pl.Trainer, epoch: int) -> None:
    """Let ``current_epoch`` be ours: to Lightning a run is one stream of optimizer steps without epochs."""
    trainer.fit_loop.epoch_progress.current.completed = epoch


def validate_next(trainer: pl.Trainer, due: bool) -> None:
    """Let the Trainer validate after the batch that ends, or not: it does where batches are a multiple of this number.

    Lightning decides by batches, and we by optimizer steps.
    """
    trainer.val_check_batch = trainer.fit_loop.total_batch_idx + 1 if due else math.inf


def validates_next(trainer: pl.Trainer) -> bool:
    """Whether ``validate_next`` has said so."""
    return trainer.val_check_batch != math.inf


def keep_gradients_possible(trainer: pl.Trainer) -> None:
    """Evaluate without inference mode: tensors that it makes (gathered ones, say) could not serve a training step.

    The Trainer's argument ``inference_mode`` is the user's; a strategy that needs this comes after it.
    """
    for loop in (trainer.fit_loop.epoch_loop.val_loop, trainer.validate_loop, trainer.test_loop):
        loop.inference_mode = False
    trainer.predict_loop.inference_mode = False


def strategy_of(module: pl.LightningModule) -> Strategy | None:
    """Return the strategy of a module's Trainer, None of a module alone: ``module.trainer`` raises there."""
    return getattr(module._trainer, "strategy", None)


def set_device(module: pl.LightningModule, device: torch.device) -> None:
    """Let a module and its metrics take ``device`` for theirs, without moving any tensor there."""
    _update_properties(module, device=device)


class HookedDDP(DDPStrategy):
    """Lightning's DDP, whose communication hook serves CPUs too.

    Lightning registers it on GPUs only; gloo takes it as well.
    """

    def _register_ddp_hooks(self) -> None:
        if self._ddp_comm_hook is not None:
            assert self.model is not None
            self.model.register_comm_hook(None, self._ddp_comm_hook)  # type: ignore[operator]


class SplittingStrategy(ModelParallelStrategy):
    """Lightning's base of strategies with DTensors, for a subclass that splits the model itself.

    Lightning's own asks the LightningModule to split itself (``configure_model``), and for the ranks' layout before
    their number is known.
    """

    @abstractmethod
    def split_model(self, model: nn.Module) -> nn.Module:
        """Split the model, once it stands where ``model_to_device`` has put it, before the optimizers are made."""

    def lay_out(self, data: int, tensor: int) -> None:
        """Lay the ranks out as (data, tensor); before ``setup_environment``."""
        self._data_parallel_size, self._tensor_parallel_size = data, tensor

    def setup(self, trainer: pl.Trainer) -> None:
        """Split the model, then make the optimizers over what this rank holds."""
        keep_gradients_possible(trainer)
        super(ModelParallelStrategy, self).setup(trainer)  # Lightning's own asks for a `configure_model`

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return self.split_model(model)


class OwnEngineStrategy(DeepSpeedStrategy):
    """Lightning's ZeRO, for a subclass that makes deepspeed's engine, and its precision, itself.

    Lightning's own asks for GPUs, casts the network, and has settings of deepspeed that are not ours.
    """

    @abstractmethod
    def choose_precision(self, plugin: Precision) -> Precision:
        """Return what takes the place of Lightning's precision plugin."""

    @abstractmethod
    def own_settings(self) -> dict[str, Any]:
        """Return settings of deepspeed that depend on the precision."""

    @abstractmethod
    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Bring the model to the device, before there is an engine."""

    @abstractmethod
    def make_engine(self, model: nn.Module, optimizer: Any, lr_scheduler: Any) -> tuple[Any, Any]:
        """Return the engine of a training and deepspeed's optimizer."""

    @abstractmethod
    def make_evaluation_engine(self, model: nn.Module) -> Any:
        """Return the engine of an evaluation."""

    def setup_accelerator(self) -> None:
        """Set the device up, without Lightning's own check that there are GPUs and its own start of deepspeed."""
        super(DeepSpeedStrategy, self).setup_environment()

    @property
    def precision_plugin(self) -> Precision:
        """Ours in place of Lightning's."""
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
