"""Shows a tracker the same few samples after each validation: their truth and what is predicted now."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lab.loggers.media import MediaSample
from lab.loggers.wandb_media import log_pictures, log_samples
from lab.loggers.wandb_run import WandbRun
from lab.report.confusion import draw_confusion
from lab.training.spec import Media


class ShownSamples(pl.Callback):
    """Take the first samples that rank 0 evaluates; the network's outputs are those of the evaluation.

    An evaluation is never shuffled, so these are the same samples each time.

    Args:
        count: the largest number of samples; 0 for none.
        media: the function that makes samples of a batch; None where there are none.
        wandb: the run that gets them after each validation of a training, with the confusion matrix as a picture.

    Attributes:
        samples: of the last evaluation.
    """

    def __init__(self, count: int, media: Media | None, wandb: WandbRun | None = None) -> None:
        self.count, self.media, self.wandb = count, media, wandb
        self.samples: list[MediaSample] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin anew: an earlier validation may have been cut short."""
        self.samples = []

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Take samples, while there is room."""
        if pl_module.outputs_are_finite:
            self._take(trainer, pl_module, outputs, batch)

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Take samples, while there is room."""
        self._take(trainer, pl_module, outputs, batch)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Hand them over, in the row of this step."""
        if self.wandb is None or trainer.state.fn != "fit" or not self.count:
            return
        names = getattr(pl_module, "class_names", ())
        log_samples(self.wandb, "val", self.samples, names, trainer.global_step)
        if (confusion := pl_module.confusion_matrix("val")) is not None and confusion.sum():
            log_pictures(self.wandb, {"val/confusion": draw_confusion(confusion, names)}, trainer.global_step)
        self.samples = []

    def _take(self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any) -> None:
        room = self.count - len(self.samples)
        if self.media is not None and trainer.is_global_zero and room > 0:
            self.samples += self.media(task, outputs, batch, room)
