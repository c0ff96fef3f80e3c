"""Tells the master of a sweep how far this job is: its progress, and a report after each validation."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lab.callbacks.steps import StepLog, peak_memory_gib
from lab.run_progress import Progress, append_report, read_progress, write_progress


class Heartbeat(pl.Callback):
    """Write ``progress.json`` while batches go by, and append to ``reports.jsonl`` after each validation of a fit.

    Progress is written at most every ``SECONDS``, and at once when the phase changes, after the first step and at the
    end of a validation. It reads values that are on the host already, so nothing waits for the device. A report comes
    before the checkpoint of its step: after a kill in between it is repeated, never lost. Rank 0 only.

    Args:
        folder: the job's folder (``lab.run_progress``).
        steps: holds the latest values of a fit; None in a stage that trains nothing, which leaves the step as it is.
        max_steps: the last step of the training.
    """

    SECONDS = 0.5

    def __init__(self, folder: Path, steps: StepLog | None = None, max_steps: int = 0) -> None:
        self.folder, self.step_log, self.max_steps = folder, steps, max_steps
        self._progress = read_progress(folder) or Progress(0.0)
        self._written = -math.inf
        self._speed = Speed()
        self._start = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the step from which this attempt goes on."""
        self._start = trainer.global_step
        self._progress = replace(self._progress, first_step=None)
        self._speed.restart(self._start)
        self._beat(trainer, "train", now=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Write the step; at once after the first one."""
        is_first = self._progress.first_step is None and trainer.global_step > self._start
        if is_first:
            self._progress = replace(self._progress, first_step=trainer.global_step)
            self._speed.restart(trainer.global_step)  # the first step is slower: it allocates and compiles
        self._beat(trainer, "train", now=is_first)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write that the validation begins."""
        self._beat(trainer, "validate", now=True)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Write that it goes on."""
        self._beat(trainer, "validate")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Report its metrics."""
        if self.step_log is not None:
            append_report(self.folder, trainer.global_step, pl_module.results)
        self._speed.restart(trainer.global_step)
        self._beat(trainer, "train" if trainer.state.fn == "fit" else "validate", now=True)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write that the test begins."""
        self._beat(trainer, "test", now=True)

    def on_test_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Write that it goes on."""
        self._beat(trainer, "test")

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        """Write that a prediction goes on."""
        self._beat(trainer, "predict")

    def _beat(self, trainer: pl.Trainer, phase: str, now: bool = False) -> None:
        if not now and time.monotonic() - self._written < self.SECONDS:
            return
        if self.step_log is not None:
            step = trainer.global_step
            if phase == "train" or self._progress.phase == "train":
                self._speed.advance(step)
            self._progress = replace(
                self._progress,
                step=step,
                max_steps=self.max_steps,
                metrics=self.step_log.latest,
                steps_per_s=self._speed.per_second,
            )
        memory = peak_memory_gib(trainer.strategy.root_device)
        self._progress = replace(self._progress, time=time.time(), phase=phase, memory_gib=memory)
        write_progress(self.folder, self._progress)
        self._written = time.monotonic()


class Speed:
    """Steps a second, smoothed over about ``seconds``.

    Args:
        seconds: the time after which an older speed counts by 1/e.

    Attributes:
        per_second: the speed; None before the first measurement.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self.per_second: float | None = None
        self._step, self._since = 0, time.monotonic()

    def restart(self, step: int) -> None:
        """Leave out the time until now: a validation, for instance."""
        self._step, self._since = step, time.monotonic()

    def advance(self, step: int) -> None:
        """Measure the time since the last call."""
        took = time.monotonic() - self._since
        if step <= self._step or took <= 0:
            return
        latest, weight = (step - self._step) / took, 1 - math.exp(-took / self.seconds)
        self.per_second = latest if self.per_second is None else self.per_second + weight * (latest - self.per_second)
        self.restart(step)
