"""Exponential moving average of the weights: evaluation uses the average, training and resuming the raw weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch

from lab.checkpoint.access import StateAccess
from lab.compat.lightning import strategy_of
from lab.compat.torch import foreach_copy_, foreach_lerp_


class EMA(pl.Callback):
    """Keep an average of the trainable weights; validation and best.ckpt use it.

    ``average = d * average + (1 - d) * weights`` after every optimizer step, with d the smaller of ``decay`` and
    ``(1 + t) / (10 + t)`` at the t-th update (0 is the first), so that early averages are not held back by the initial
    weights. Buffers are not averaged: batch norms' statistics are those of the raw weights.

    Args:
        decay: d in the long run.
        start: the optimizer step from which weights are averaged; before it, evaluation uses the raw ones.
        warmup: False: d is ``decay`` from the first update on.
    """

    def __init__(self, decay: float, start: int = 0, warmup: bool = True) -> None:
        self.decay, self.start, self.warmup = decay, start, warmup
        self.updates = 0
        self.average: list[torch.Tensor] = []
        self._last_step = 0
        self._swapped = False

    @property
    def active(self) -> bool:
        """Whether there is an average yet."""
        return self.updates > 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the raw weights, unless a checkpoint has brought an average."""
        self.prepare(pl_module)
        self._last_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Update the average after an optimizer step."""
        if trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        weights = self._weights(pl_module)
        if trainer.global_step <= self.start:
            foreach_copy_(self.average, weights)
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        foreach_lerp_(self.average, weights, 1 - decay)
        self.updates += 1

    @contextmanager
    def averaged(self, pl_module: pl.LightningModule) -> Iterator[None]:
        """Context in which the module holds the averaged weights."""
        if self._swapped or not self.active:
            yield
            return
        self._swap(pl_module)
        try:
            yield
        finally:
            self._swap(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate with the averaged weights."""
        if self.active and not self._swapped:
            self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue training with the raw weights."""
        if self._swapped:
            self._swap(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the raw weights back."""
        if self._swapped:
            self._swap(pl_module)

    def prepare(self, pl_module: pl.LightningModule) -> None:
        """Make the average, equal to the weights, unless there is one."""
        if not self.average:
            self.average = [weight.detach().clone() for weight in self._weights(pl_module)]

    def named(self, pl_module: pl.LightningModule) -> dict[str, torch.Tensor]:
        """Return the average by the names of the parameters."""
        return dict(zip(_access(pl_module).weights(pl_module), self.average, strict=True))

    @torch.no_grad()
    def _swap(self, pl_module: pl.LightningModule) -> None:
        # The contents are swapped, not the tensors: the code that gathers the shards of a weight keeps their memory.
        for weight, average in zip(self._weights(pl_module), self.average, strict=True):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
        _access(pl_module).changed(pl_module)
        self._swapped = not self._swapped
        pl_module.weights_kind = "averaged" if self._swapped else "raw"  # type: ignore[assignment]

    @staticmethod
    def _weights(pl_module: pl.LightningModule) -> list[torch.Tensor]:
        return list(_access(pl_module).weights(pl_module).values())


def _access(pl_module: pl.LightningModule) -> StateAccess:
    access: StateAccess | None = getattr(strategy_of(pl_module), "state_access", None)
    return access or StateAccess()
