"""Writes the checkpoints of a run: best.ckpt, last.ckpt and previous.ckpt. A run resumes from them."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lab.callbacks.divergence import Divergence
from lab.callbacks.early_stopping import EarlyStopping, is_better
from lab.callbacks.ema import EMA
from lab.callbacks.run_state import RunState
from lab.checkpoint.format import understood
from lab.checkpoint.rng import set_rng_state
from lab.compat.lightning import validate_next, validates_next
from lab.loggers.metrics_csv import MetricsCSV
from lab.strategies import collectives
from lab.system.signals import SignalWatch


class RunCheckpoint(pl.Callback):
    """Write ``last.ckpt`` at intervals and at every validation, ``best.ckpt`` when the monitored metric improves.

    To Lightning, a run is one stream of optimizer steps; this callback starts the validations. A checkpoint means that
    everything of its step is done: if a validation is due at a step, the checkpoint is written after it. All ranks
    write together. So after each step they agree whether to write now, whether one of them has received a signal, and
    whether one has found a loss or a gradient that is not finite.

    Args:
        folder: where the checkpoints go.
        metrics: flushed before each checkpoint, so that metrics.csv has all rows up to the checkpoint's step.
        val_every: optimizer steps between validations; the last step is always validated.
        max_steps: the last step.
        every: optimizer steps between writes of last.ckpt; None for about once a minute.
        ema: the average of the weights that best.ckpt holds, if there is one.
        watch: receives the signals that end a training.
        divergence: checks each step, and the tensors of each checkpoint, for values that are not finite.
        resume_from: the checkpoint that the training continues from.
        stopping: what may end the training early; its counts are part of each checkpoint.

    Attributes:
        signal: the signal that some rank has received, known to all ranks; 0 for none.
    """

    SECONDS = 60.0

    def __init__(
        self,
        folder: Path,
        metrics: MetricsCSV,
        val_every: int,
        max_steps: int,
        every: int | None,
        ema: EMA | None,
        watch: SignalWatch,
        divergence: Divergence,
        resume_from: Path | None = None,
        stopping: EarlyStopping | None = None,
    ) -> None:
        self.folder, self.metrics, self.ema, self.resume_from = folder, metrics, ema, resume_from
        self.watch, self.divergence = watch, divergence
        self.signal = 0
        self.state = RunState(ema, divergence, stopping)
        self.val_every, self.max_steps, self.every = val_every, max_steps, every
        self.best: float | None = None
        self._rng: list[dict[str, Any]] | None = None
        self._last_step = self._saved_step = 0
        self._stepped = False
        self._saved_time = time.monotonic()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore everything from the checkpoint; the strategy has set up module and optimizer by now."""
        if self.resume_from is not None:
            state = self.state.restore(self.resume_from, trainer, pl_module)
            self.best, self._rng = state["best"], state["rng"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the states of the random number generators, each rank's own if the number of ranks is unchanged."""
        self._last_step = self._saved_step = trainer.global_step
        self._saved_time = time.monotonic()
        if self._rng is None:
            ranks = getattr(trainer.strategy, "num_data_ranks", trainer.world_size)
            share = trainer.global_rank * ranks // trainer.world_size
            if share:  # ranks with different samples need different dropout masks
                torch.manual_seed(torch.initial_seed() + share)
        else:
            with understood(self.resume_from or self.folder, "random numbers to go on with"):
                set_rng_state(self._rng[trainer.global_rank if len(self._rng) == trainer.world_size else 0])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """After an optimizer step: ask for a validation if one is due, else write a checkpoint if one is due."""
        step = trainer.global_step
        stepped = step != self._last_step
        validate = stepped and (step % self.val_every == 0 or step == self.max_steps)
        validate_next(trainer, validate)
        self._last_step, self._stepped = step, stepped
        if stepped:
            late = time.monotonic() - self._saved_time > self.SECONDS
            found = self.divergence.has_found(trainer)
            self.signal, any_late, any_found = collectives.largest(self.watch.received or 0, int(late), int(found))
            if any_found:
                self.divergence.act(trainer, pl_module)
            else:
                self.divergence.pass_on()
            due = bool(any_late) if self.every is None else step % self.every == 0
            if due and not validate:
                self.save_last(trainer)

    def step_is_done(self, trainer: pl.Trainer) -> bool:
        """Whether the batch that just ended completed an optimizer step, and no validation follows."""
        return self._stepped and not validates_next(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write last.ckpt, and best.ckpt if the metric is the best so far."""
        value = float(pl_module.results[pl_module.monitor])  # type: ignore[index]
        if self.best is None or is_better(value, self.best, str(getattr(pl_module, "monitor_mode", "max"))):
            self.best = value
            self._save_best(trainer, pl_module)
        self.save_last(trainer)

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write last.ckpt, unless it has this step already; the old last.ckpt becomes previous.ckpt."""
        if self._saved_step == trainer.global_step:
            return
        self.metrics.flush()
        last, previous = self.folder / "last.ckpt", self.folder / "previous.ckpt"
        self.state.write(last, trainer, trainer.lightning_module, self.best, keep=previous)
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()

    def _save_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with self.ema.averaged(pl_module) if self.ema is not None else nullcontext():
            self.state.write_weights(self.folder / "best.ckpt", trainer, pl_module)
