"""Keeps a part of a network frozen, and unfreezes it at given optimizer steps."""

from __future__ import annotations

from collections.abc import Iterable

import lightning.pytorch as pl
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from lab.checkpoint.access import parameter_names
from lab.layers.convolution import BATCH_NORMS
from lab.training.freezing import Freezing, TrainedPart
from lab.training.gradients import drop_gradients


class Unfreeze(pl.Callback):
    """Train at each optimizer step only what its stage trains; what is frozen is a function of the step alone.

    The optimizer has every parameter that trains at some step. It leaves out a parameter without a gradient, weight
    decay and momentum included, so a frozen one loses its gradient before each step. On one device frozen parameters
    take no gradient in the first place, which saves the backward pass below them; ranks compute it, because a wrapper
    such as DDP expects the same gradients at every step. Batch norms that are frozen run in evaluation mode: neither
    their parameters nor their statistics change.

    Args:
        freezing: what trains when.
    """

    def __init__(self, freezing: Freezing) -> None:
        self.freezing = freezing
        self._stage: TrainedPart | None = None
        self._frozen: list[nn.Parameter] = []
        self._norms: list[nn.Module] = []
        self._held: list[nn.Parameter] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Enter the stage of this step; frozen parameters take no gradient in this batch."""
        stage = self.freezing.at(trainer.global_step)
        if stage is not self._stage:
            self._enter(stage, trainer, pl_module)
        for norm in self._norms:  # a validation ends with all modules in training mode
            norm.training = False
        if type(trainer.strategy) is SingleDeviceStrategy:
            self._held = [parameter for parameter in self._frozen if parameter.requires_grad]
            for parameter in self._held:
                parameter.requires_grad_(False)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Between two batches every parameter that trains at some step takes a gradient, as others expect."""
        self._release()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: object) -> None:
        """Drop the gradients of frozen parameters, before they are clipped or measured."""
        drop_gradients(trainer.optimizers[0], self._frozen)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave nothing held."""
        self._release()

    def _release(self) -> None:
        for parameter in self._held:
            parameter.requires_grad_(True)
        self._held = []

    def _enter(self, stage: TrainedPart, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = pl_module.get_submodule("net")
        if self._stage is not None:
            net.train()  # the network's own rules decide about what is no longer frozen
        self._stage = stage
        named = parameter_names(net)
        self._frozen = [parameter for name, parameter in named.items() if name not in stage.names]
        self._norms = frozen_norms(net, self._frozen)
        if trainer.is_global_zero:
            print(f"frozen    {self.freezing.describe(stage)}")


def frozen_norms(net: nn.Module, frozen: Iterable[Tensor]) -> list[nn.Module]:
    """Return the batch norms of which no parameter trains; one without parameters goes with the module around it."""
    still = {id(parameter) for parameter in frozen}

    def is_frozen(module: nn.Module) -> bool | None:
        parameters = list(module.parameters())
        return all(id(parameter) in still for parameter in parameters) if parameters else None

    found: list[nn.Module] = []

    def visit(module: nn.Module, around: bool) -> None:
        own = is_frozen(module)
        own = around if own is None else own
        if isinstance(module, BATCH_NORMS) and own:
            found.append(module)
        for child in module.children():
            visit(child, own)

    visit(net, False)
    return found
