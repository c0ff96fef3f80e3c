"""A training whose directory was moved or deleted ends, and writes nothing into whatever stands there now."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lab.run_directory import RunDirectory


class OwnDirectory(pl.Callback):
    """Look after each step whether the run directory still stands at its path; stands before what writes there.

    Args:
        run: the directory, on the rank that writes.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Raise FileNotFoundError if it does not."""
        self.run.check_own()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise FileNotFoundError if it does not."""
        self.run.check_own()
