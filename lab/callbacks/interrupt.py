"""Ctrl-C and SIGTERM end a run at the next optimizer step, with a checkpoint."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import lightning.pytorch as pl

from lab.callbacks.checkpoint import RunCheckpoint


class Interrupted(Exception):
    """A signal has ended the run after a checkpoint was written.

    Attributes:
        exit_code: 128 + the signal's number.
    """

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name} at step {step}")
        self.exit_code = 128 + signum


class Interrupt(pl.Callback):
    """Set a flag on SIGINT and SIGTERM and honour it at the next optimizer step; a second SIGINT stops at once."""

    def __init__(self, checkpoint: RunCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._last_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals."""
        self._last_step = trainer.global_step
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signum
        print(f"\n{signal.Signals(signum).name}: stopping after this step (Ctrl-C again stops at once)", flush=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Stop if a signal has come and no validation is about to run at this step."""
        stepped = trainer.global_step != self._last_step
        self._last_step = trainer.global_step
        if self.received is not None and stepped and trainer.val_check_batch == float("inf"):
            self.checkpoint.save_last(trainer)
            raise Interrupted(self.received, trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after the validation's checkpoint, unless the training is over anyway."""
        if self.received is not None and trainer.state.fn == "fit" and trainer.global_step < self.checkpoint.max_steps:
            raise Interrupted(self.received, trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
