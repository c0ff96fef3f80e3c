"""Ends a training after a validation, if the search of the sweep that it is a job of says so."""

from __future__ import annotations

import time
from pathlib import Path

import lightning.pytorch as pl

from lab.errors import Pruned
from lab.run_progress import read_verdict
from lab.strategies import collectives
from lab.system.signals import SignalWatch


class Pruning(pl.Callback):
    """Wait for the verdict on the report of a validation, and stop if it says so, with the validation's checkpoint.

    All ranks stop at the same step: rank 0 reads the verdict for them. A training that ends at this validation anyway
    does not wait: there would be no step to save.

    Args:
        folder: the job's folder (``lab.run_progress``); only rank 0 reads there.
        watch: receives the signals, which end the wait.
        max_steps: the last step of the training.
    """

    SECONDS, POLL = 30.0, 0.01

    def __init__(self, folder: Path | None, watch: SignalWatch, max_steps: int) -> None:
        self.folder, self.watch, self.max_steps = folder, watch, max_steps

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait; stop after the checkpoint of this validation.

        Raises:
            Pruned: the verdict is to stop.
        """
        step = trainer.global_step
        if trainer.state.fn != "fit" or step >= self.max_steps or trainer.should_stop:
            return
        name = str(pl_module.monitor)
        here = self._verdict(step) if trainer.is_global_zero else False
        prune, value = collectives.from_rank_zero((here, float(pl_module.results[name])))  # type: ignore[index]
        if prune:
            raise Pruned(f"pruned at step {step} of {self.max_steps}: {name} is {value:.4g}, others are better", step)

    def _verdict(self, step: int) -> bool:
        """Return the verdict on a step or a later one; False if none comes in time, or a signal comes first."""
        assert self.folder is not None
        end = time.monotonic() + self.SECONDS
        while not self.watch.received:
            found = read_verdict(self.folder)
            if found is not None and found[0] >= step:
                return found[1]
            if time.monotonic() > end:
                print(f"note: no verdict on step {step} in {self.SECONDS:g} seconds: the training goes on", flush=True)
                break
            time.sleep(self.POLL)
        return False
