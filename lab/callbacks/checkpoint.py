"""best.ckpt, last.ckpt and the one before it; what a resume needs stands in them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lab.callbacks.ema import EMA
from lab.checkpoint.rng import rng_state, set_rng_state
from lab.report.metrics_csv import MetricsCSV


class RunCheckpoint(pl.Callback):
    """Write ``last.ckpt`` now and then and at every validation, ``best.ckpt`` when the task's metric is at its best.

    A run is one stream of optimizer steps to Lightning; validations are placed by this callback. A checkpoint stands
    for "everything of this step is done": where a validation is due at a step, it is written after it.

    Args:
        folder: of the checkpoints.
        metrics: flushed before each checkpoint, so that metrics.csv never lacks a row below its step.
        val_every: optimizer steps between validations; there is always one at the last step.
        max_steps: the last step.
        every: optimizer steps between writes of last.ckpt; None for about a minute.
        ema: whose average best.ckpt holds, if there is one.
        start_step: the step that a resume starts from.
        accumulate: micro-batches of an optimizer step.
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
        start_step: int,
        accumulate: int,
    ) -> None:
        self.folder, self.metrics, self.ema = folder, metrics, ema
        self.val_every, self.max_steps, self.every = val_every, max_steps, every
        self.start_step, self.accumulate = start_step, accumulate
        self.best: float | None = None
        self.best_step: int | None = None
        self._rng: dict[str, Any] | None = None
        self._last_step = start_step
        self._last_time = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set Lightning's counters and the random numbers to where the checkpoint stood."""
        epoch_loop = trainer.fit_loop.epoch_loop
        step = epoch_loop.automatic_optimization.optim_progress.optimizer.step
        step.total.ready = step.total.completed = self.start_step
        epoch_loop._batches_that_stepped = self.start_step
        self._last_step, self._last_time = self.start_step, time.monotonic()
        if self._rng is not None:
            set_rng_state(self._rng)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """After an optimizer step: ask for a validation if one is due, else write a checkpoint if one is due."""
        step = trainer.global_step
        stepped = step != self._last_step
        validate = stepped and (step % self.val_every == 0 or step == self.max_steps)
        # Lightning validates where the number of batches is a multiple of val_check_batch.
        trainer.val_check_batch = trainer.fit_loop.total_batch_idx + 1 if validate else float("inf")
        if not stepped:
            return
        self._last_step = step
        if not validate and self._due(step):
            self.save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write best.ckpt if the metric is the best so far, and last.ckpt."""
        if trainer.state.fn != "fit":
            return
        value = trainer.callback_metrics.get(str(pl_module.monitor))
        if value is not None and (self.best is None or float(value) > self.best):
            self.best, self.best_step = float(value), trainer.global_step
            self._save_best(trainer, pl_module)
        self.save_last(trainer)

    def _due(self, step: int) -> bool:
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self._last_time > self.SECONDS

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write last.ckpt and keep the one before it as previous.ckpt."""
        self.metrics.flush()
        last, previous, fresh = (self.folder / f"{name}.ckpt" for name in ("last", "previous", ".next"))
        trainer.save_checkpoint(fresh)
        if trainer.is_global_zero:
            if last.exists():
                link = self.folder / ".previous.ckpt"
                link.unlink(missing_ok=True)
                os.link(last, link)
                link.replace(previous)
            fresh.replace(last)
        self._last_time = time.monotonic()

    def _save_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.ema is None:
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)
            return
        with self.ema.averaged(pl_module):
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a resume needs; Lightning's own loop counters are left out, they follow from the step."""
        checkpoint.pop("loops", None)
        checkpoint["lab"] = {
            "step": trainer.global_step,
            "best": self.best,
            "best_step": self.best_step,
            "rng": rng_state(),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take back what ``on_save_checkpoint`` added."""
        state = checkpoint["lab"]
        self.best, self.best_step, self._rng = state["best"], state["best_step"], state["rng"]
