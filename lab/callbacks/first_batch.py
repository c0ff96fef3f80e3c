"""A picture of what a network gets to see: the first images of a training, augmented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lab.run_directory import RunDirectory


class FirstBatch(pl.Callback):
    """Save ``pictures/train-inputs.png`` before the first step of a run, where the kind of problem draws it.

    Args:
        run: the run directory, on the rank that writes.
        count: the largest number of images; 0 for none.
    """

    def __init__(self, run: RunDirectory, count: int) -> None:
        self.path: Path = run.path / "pictures" / "train-inputs.png"
        self.count = count

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Draw the first batch; a run that continues has drawn it."""
        if trainer.global_step or batch_idx or not self.count:
            return
        picture = pl_module.draw_inputs(batch, self.count)
        if picture is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(self.path)
