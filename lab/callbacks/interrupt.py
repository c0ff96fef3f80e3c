"""Ctrl-C and SIGTERM end a training at the next optimizer step, with a checkpoint."""

from __future__ import annotations

from signal import SIGTERM
from typing import Any

import lightning.pytorch as pl

from lab.callbacks.checkpoint import RunCheckpoint
from lab.loggers.wandb_run import WandbRun
from lab.strategies import collectives
from lab.system.signals import Interrupted, SignalWatch


class Interrupt(pl.Callback):
    """Stop right after a checkpoint was written: after the step in which a signal arrived, or its validation.

    All ranks stop at the same step, whichever of them has received the signal.

    Args:
        checkpoint: writes the checkpoint.
        watch: receives the signals.
    """

    def __init__(self, checkpoint: RunCheckpoint, watch: SignalWatch) -> None:
        self.checkpoint, self.watch = checkpoint, watch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on, hold signals back until the next step."""
        self.watch.deferred = True
        self.watch.install()  # Lightning's own handler would end the training without a checkpoint

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Stop after an optimizer step, unless a validation follows first."""
        if self.checkpoint.signal and self.checkpoint.step_is_done(trainer):
            if self.checkpoint.signal == SIGTERM:
                for logger in trainer.loggers:
                    if isinstance(logger, WandbRun):
                        logger.preempted()  # before the checkpoint: who has sent the signal may not wait for its end
            self.checkpoint.save_last(trainer)
            raise Interrupted(self.checkpoint.signal, f"at step {trainer.global_step}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after the validation's checkpoint."""
        self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before the test."""
        self._stop(trainer)
        self.watch.deferred = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let signals act at once again."""
        self.watch.deferred = False

    def _stop(self, trainer: pl.Trainer) -> None:
        (signal,) = collectives.largest(self.watch.received or 0)
        if signal:
            raise Interrupted(signal, f"at step {trainer.global_step}")
