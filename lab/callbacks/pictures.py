"""Truth beside prediction for the first images of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from lab.report.pictures import contact_sheet, side_by_side
from lab.report.segmentation_pictures import truth_and_prediction
from lab.structures import DetectionBatch, SegmentationBatch

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN_ABOVE = 0.3
"""The score from which a prediction is drawn."""


class Pictures(pl.Callback):
    """Save a picture of each of the first images that rank 0 evaluates, and a sheet of all of them.

    Args:
        folder: where they go.
        split: the beginning of their names.
        count: the most pictures; 0 for none.

    Attributes:
        sheet: all pictures on one, after the evaluation.
    """

    def __init__(self, folder: Path, split: str, count: int) -> None:
        self.folder, self.split, self.count = folder, split, count
        self.panels: list[Image] = []
        self.sheet: Image | None = None

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Draw, while there is room."""
        self._draw(trainer, pl_module, outputs, batch)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Draw, while there is room."""
        self._draw(trainer, pl_module, outputs, batch)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the sheet."""
        self._save_sheet()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the sheet."""
        self._save_sheet()

    def _save_sheet(self) -> None:
        if self.panels:
            self.sheet = contact_sheet(self.panels)
            self.sheet.save(self.folder / f"{self.split}.png")

    def _draw(self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any) -> None:
        panels = PANELS.get(task.kind)
        if panels is None or not trainer.is_global_zero or len(self.panels) >= self.count:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for panel in panels(task, outputs, batch, self.count - len(self.panels)):
            self.panels.append(panel)
            panel.save(self.folder / f"{self.split}-{len(self.panels) - 1:03d}.png")


def detection_panels(task: Any, outputs: Any, batch: DetectionBatch, count: int) -> Iterator[Image]:
    """Yield truth beside prediction for the first images of a batch."""
    predictions = task.net.predict(outputs, batch.targets.sizes)  # in pixels of the batch's images
    starts = [0]
    for number in batch.targets.counts:
        starts.append(starts[-1] + number)
    for row in range(min(len(batch.images), count)):
        height, width = (int(value) for value in batch.targets.sizes[row].tolist())
        image = batch.images[row, :, :height, :width].cpu()
        truth = slice(starts[row], starts[row + 1])
        shown = (batch.targets.boxes[truth], batch.targets.labels[truth])
        found = (predictions.boxes[row], predictions.labels[row], predictions.scores[row])
        yield side_by_side(image, shown, found, task.class_names, SHOWN_ABOVE)


def segmentation_panels(task: Any, outputs: Any, batch: SegmentationBatch, count: int) -> Iterator[Image]:
    """Yield image, truth and prediction for the first images of a batch."""
    where = (outputs, batch.targets.sizes, batch.targets.sizes)  # in pixels of the batch's images
    maps = task.net.semantic(*where)
    panoptic = task.net.panoptic(*where, task.spec.thing_labels) if task.eval_settings["panoptic"] else None
    labels = batch.targets.labels.split(list(batch.targets.counts))
    for row in range(min(len(batch.images), count)):
        height, width = maps[row].shape
        image = batch.images[row, :, :height, :width].cpu()
        truth = (batch.targets.segments[row, :height, :width].cpu(), labels[row].cpu())
        segments = None if panoptic is None else panoptic[row].to("cpu")
        yield truth_and_prediction(image, truth, maps[row].cpu(), task.class_names, segments)


PANELS: dict[str, Callable[[Any, Any, Any, int], Iterator[Image]]] = {
    "detection": detection_panels,
    "segmentation": segmentation_panels,
}
"""What draws a batch of each kind of problem: task, outputs, batch, the most pictures wanted."""
