"""The progress bar of a terminal or a notebook; plain lines where the output is neither."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lab.callbacks.notebook import NotebookProgress
from lab.callbacks.steps import StepLog
from lab.report.dates import duration
from lab.text import printable

_SHORT = {
    "train/loss": "loss {:6.3f}",
    "train/samples_per_s": "{:4.0f} samples/s",
    "val/loss": "loss {:.3f}",
}
_TRAINING = ("train/loss", "train/samples_per_s")


class ProgressBar(pl.Callback):
    """Show steps, time left, loss and the latest validation.

    Args:
        steps: holds the latest values.
        max_steps: the last optimizer step.
        seconds: the time between lines where there is no terminal.
    """

    def __init__(self, steps: StepLog, max_steps: int, seconds: float = 15.0) -> None:
        self.steps, self.max_steps, self.seconds = steps, max_steps, seconds
        self.console = Console()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began = self._line_time = 0.0
        self._first_step = 0

    @property
    def _has_bar(self) -> bool:
        return self.console.is_terminal or self.console.is_jupyter

    def _start(self, name: str, total: int, completed: int = 0) -> None:
        if not self._has_bar:
            return
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[status]}", markup=False),
            )
            if self.console.is_terminal:
                self._bar = Progress(*columns, console=self.console, refresh_per_second=4)
            else:
                self._bar = NotebookProgress(*columns, console=self.console)
            self._bar.start()
        self._tasks[name] = self._bar.add_task(name, total=total, completed=completed, status="")

    def _advance(self, name: str, completed: int, status: str = "") -> None:
        if self._bar is not None and name in self._tasks:
            self._bar.update(self._tasks[name], completed=completed, status=status)

    def _remove(self, name: str) -> None:
        if self._bar is not None and name in self._tasks:
            self._bar.remove_task(self._tasks.pop(name))

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._tasks = None, {}

    def _status(self, *names: str) -> str:
        # Of constant width, so that the bar does not move.
        latest = self.steps.latest
        text = "  ".join(
            _SHORT.get(name, f"{name.partition('/')[2]} {{:.3f}}").format(latest[name])
            for name in names
            if name in latest
        )
        return printable(text)

    @staticmethod
    def _metrics(task: Any) -> list[str]:
        """Return the validation metrics that a task wants shown."""
        return [f"val/{name}" for name in getattr(task, "shown", ())]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, starting at the run's current step."""
        self._start("train", self.max_steps, trainer.global_step)
        self._began = self._line_time = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Move on."""
        shown = (*_TRAINING, *self._metrics(pl_module)[-1:])
        self._advance("train", trainer.global_step, self._status(*shown))
        if not self._has_bar and time.monotonic() - self._line_time > self.seconds:
            self._line_time = time.monotonic()
            line = f"step {trainer.global_step}/{self.max_steps}  {self._status(*shown)}"
            print(f"{line}  about {duration(self._seconds_left(trainer.global_step))} left", flush=True)

    def _seconds_left(self, step: int) -> float | None:
        """Return the time to the last step at the mean speed since the start, validations included."""
        done = step - self._first_step
        return (time.monotonic() - self._began) / done * (self.max_steps - step) if done > 0 else None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show a second bar."""
        self._start("validate", int(sum(trainer.num_val_batches)))

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Move on."""
        self._advance("validate", batch_idx + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the second bar away."""
        self._remove("validate")
        if trainer.state.fn == "fit":
            status = self._status("val/loss", *self._metrics(pl_module))
            line = f"step {trainer.global_step}/{self.max_steps}  validated  {status}"
            if self._bar is not None:
                self._bar.console.print(line, highlight=False, markup=False)
            else:
                print(line, flush=True)
        else:
            self._stop()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the test's bar."""
        self._start("test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Move on."""
        self._advance("test", batch_idx + 1)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._stop()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the bar away."""
        self._stop()
