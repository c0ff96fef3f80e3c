"""Logs losses, learning rates, throughput and memory at optimizer steps, and metrics after evaluations."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch

from lab.compat.lightning import set_epoch
from lab.training.schedules import learning_rates


class StepLog(pl.Callback):
    """Log ``train/...`` every ``every`` optimizer steps, and ``val/...`` or ``test/...`` after each evaluation.

    Besides the loss and its terms (of the global batch) it logs ``train/grad_norm`` (of all gradients of the optimizer
    step before clipping; not defined if it is not finite), ``train/lr``, ``train/samples_per_s``,
    ``train/data_wait`` (the share of the time spent waiting for batches) and ``train/peak_memory_gib`` (of the device,
    or of the process on a CPU). The host waits for the device only here.

    Args:
        every: optimizer steps between rows.
        batch_size: the global batch.
        steps_per_epoch: optimizer steps per epoch; gives the epoch of a step.

    Attributes:
        latest: the latest value of each name.
        rates: the learning rates of the latest optimizer step.
        gradient_norm: this rank's part () of the gradients' norm in the latest optimizer step
            (``lab.training.gradients``); None if the strategy computes the norm.
    """

    def __init__(self, every: int, batch_size: int, steps_per_epoch: int) -> None:
        self.every, self.batch_size, self.steps_per_epoch = every, batch_size, steps_per_epoch
        self.latest: dict[str, float] = {}
        self.rates: dict[str, float] = {}
        self.gradient_norm: torch.Tensor | None = None
        self._last_step = 0
        self._restart(0)

    def _restart(self, step: int) -> None:
        self._step, self._waited = step, 0.0
        self._since = self._batch_ended = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self._restart(trainer.global_step)
        self._last_step = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Count the wait for this batch; tell Lightning the epoch."""
        self._waited += time.perf_counter() - self._batch_ended
        set_epoch(trainer, trainer.global_step // self.steps_per_epoch)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Remember the learning rates of this step: the schedule advances before the step is logged."""
        self.rates = learning_rates(optimizer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Log after every ``every``-th optimizer step and after the first."""
        step = trainer.global_step
        if step != self._last_step:
            self._last_step = step
            if step % self.every == 0 or step == 1:
                self._log_step(trainer, pl_module, step)
        self._batch_ended = time.perf_counter()

    def _log_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        terms: Mapping[str, torch.Tensor] = pl_module.step_terms  # type: ignore[assignment]
        stacked = torch.stack([value.float() for value in terms.values()])
        own_norm = self.gradient_norm
        parts = torch.cat([stacked, stacked.new_zeros(1) if own_norm is None else own_norm.float().view(1)])
        if trainer.world_size > 1:
            copies = trainer.world_size // getattr(trainer.strategy, "num_data_ranks", trainer.world_size)
            parts[-1] **= 2
            parts = trainer.strategy.reduce(parts, reduce_op="sum")
            parts[:-1] /= copies
            parts[-1] **= 0.5
        *sums, norm = parts.tolist()
        values = dict(zip(terms, sums, strict=True))
        if own_norm is None:
            norm = float(getattr(trainer.strategy, "gradient_norm", math.nan))
        values["grad_norm"] = norm if math.isfinite(norm) else math.nan
        seconds = max(1e-9, time.perf_counter() - self._since)
        values |= self.rates
        values["samples_per_s"] = (step - self._step) * self.batch_size / seconds
        values["data_wait"] = min(1.0, self._waited / seconds)
        values["peak_memory_gib"] = peak_memory_gib(trainer.strategy.root_device)
        self.write(trainer, {f"train/{key}": value for key, value in values.items()})
        self._restart(step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log ``val/...``."""
        self.write(trainer, pl_module.results)  # type: ignore[arg-type]
        self._restart(trainer.global_step)

    def write(self, trainer: pl.Trainer, values: Mapping[str, float]) -> None:
        """Write values of the current step."""
        step = trainer.global_step
        self.latest.update(values)
        if trainer.state.fn != "fit":
            return
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": max(0, step - 1) // self.steps_per_epoch, **values}, step)


def peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory so far, of a CUDA device or else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
