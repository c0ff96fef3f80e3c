"""Ends a training whose run directory was moved or deleted, before it writes into a directory that replaced it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lab.run_directory import RunDirectory


class OwnDirectory(pl.Callback):
    """Check after each step that the run directory is still at its path. Comes before the callbacks that write there.

    Args:
        run: the run directory, on the rank that writes.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Raise FileNotFoundError if it does not."""
        self.run.check_own()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise FileNotFoundError if it does not."""
        self.run.check_own()
