"""Ends a training when the metric that selects best.ckpt no longer improves.

Prechelt, "Early Stopping - But When?", 1998: the criterion of a number of validations without progress.
"""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl

from lab.strategies import collectives


class EarlyStopping(pl.Callback):
    """Stop after the validation that is the ``patience``-th in a row without an improvement.

    The direction is the task's own (``Task.monitor_mode``). A metric that is not defined (NaN) is no improvement. Every
    rank counts the value of rank 0. The counts are part of each checkpoint, so that a resumed training stops at the
    same step.

    Args:
        patience: validations in a row without an improvement.
        min_delta: what a metric must improve by more than, over the best so far that counted as an improvement.
        start: validations before this optimizer step are not counted.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, start: int = 0) -> None:
        self.patience, self.min_delta, self.start = patience, min_delta, start
        self.best: float | None = None
        self.best_step = self.waited = 0
        self.monitor = ""

    @property
    def has_stopped(self) -> bool:
        """Whether patience is at an end."""
        return self.waited >= self.patience

    @property
    def reason(self) -> str:
        """Why the training has ended, on one line."""
        best = "not defined" if self.best is None or math.isnan(self.best) else f"{self.best:.4g}"
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        times = f"{self.waited} validation{'s' if self.waited > 1 else ''}"
        return f"{self.monitor} has not improved{by} in {times} since step {self.best_step} ({best})"

    def state_dict(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited, "monitor": self.monitor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.waited, self.monitor = state_dict["waited"], state_dict["monitor"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Count; stop the trainer. It acts before the checkpoint of this validation is written."""
        if trainer.state.fn != "fit":
            return
        self.monitor = pl_module.monitor
        value: float = collectives.from_rank_zero(float(pl_module.results[self.monitor]))
        mode = str(getattr(pl_module, "monitor_mode", "max"))
        if self.best is None or is_better(value, self.best, mode, self.min_delta):
            self.best, self.best_step, self.waited = value, trainer.global_step, 0
        elif trainer.global_step >= self.start:
            self.waited += 1
        if self.has_stopped:
            trainer.should_stop = True


def is_better(value: float, best: float, mode: str, by: float = 0.0) -> bool:
    """Whether a metric is better than the best so far by more than ``by``; any number is better than NaN."""
    if math.isnan(best) or math.isnan(value):
        return math.isnan(best) and not math.isnan(value)
    return value > best + by if mode == "max" else value < best - by
