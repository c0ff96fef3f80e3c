"""Object detection: any ``lab.structures.Detector`` is trained by its own loss and measured by COCO's mAP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lab.errors import ConfigError
from lab.ops.images import normalize_images
from lab.structures import DetectionBatch, DetectionPredictions, Detector, Term
from lab.tasks.detection.metrics import DetectionMAP
from lab.training.classes import ClassTask


class DetectionTask(ClassTask):
    """Train and measure a detector; see ``Task`` for the arguments."""

    kind = "detection"
    protocol = Detector
    monitor = "val/map"
    shown = ("map", "map_50")

    def make_metrics(self) -> None:
        """Make one mAP for validation and one for test."""
        self.val_map, self.test_map = DetectionMAP(self.class_names), DetectionMAP(self.class_names)

    def reset_metrics(self, split: str) -> None:
        """Forget all images."""
        self._metric(split).reset()

    def forward(self, batch: DetectionBatch) -> Any:
        """Return the network's outputs for a batch of uint8 images."""
        return self.net(normalize_images(batch.images, batch.padding_mask), batch.padding_mask)

    def evaluate(self, split: str, outputs: Any, batch: DetectionBatch) -> None:
        """Add the predictions of a batch."""
        if batch.truth is None:
            raise ConfigError("the dataset gives no truth to evaluate against")
        predictions = self.net.predict(outputs, batch.original_sizes)
        self._metric(split).update(predictions, batch.truth, batch.image_ids, batch.valid)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return COCO's twelve numbers."""
        return self._metric(split).compute()

    def classes_measured(self, split: str) -> dict[str, int]:
        """Return over how many classes COCO's numbers are means."""
        return {"map": self._metric(split).classes_measured}

    def predict_step(self, batch: DetectionBatch, batch_idx: int) -> tuple[Tensor, list[DetectionPredictions]]:
        """Return image numbers (b,) and what was found in each, without the images that only fill up."""
        predictions = self.net.predict(self(batch), batch.original_sizes)
        rows = batch.valid.nonzero().flatten().tolist()
        return batch.image_ids[batch.valid], [predictions.rows(slice(row, row + 1)) for row in rows]

    def describe_pass(self, batch: DetectionBatch, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shapes of images and boxes."""
        predictions = self.net.predict(outputs, batch.original_sizes)
        return f"images {tuple(batch.images.shape)} -> boxes {tuple(predictions.boxes.shape)}"

    def _metric(self, split: str) -> DetectionMAP:
        return self.val_map if split == "val" else self.test_map
