"""Samples of detections for trackers: an image, its true boxes and those that were found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image
from torch import Tensor

from lab.loggers.media import MediaBox, MediaSample
from lab.report.canvas import as_picture
from lab.structures import DetectionBatch

LOWEST = 0.05
"""The lowest score of a box that is kept: a tracker filters further."""


def detection_media(task: Any, outputs: Any, batch: DetectionBatch, count: int) -> Iterator[MediaSample]:
    """Yield the first images of a batch with the layers ``truth`` and ``prediction``."""
    predictions = task.net.predict(outputs, batch.targets.sizes)  # in pixels of the batch's images
    boxes, labels = batch.targets.boxes.split(batch.targets.counts), batch.targets.labels.split(batch.targets.counts)
    for row in batch.valid.nonzero().flatten().tolist()[:count]:
        height, width = (int(value) for value in batch.targets.sizes[row].tolist())
        picture: Image.Image = as_picture(batch.images[row, :, :height, :width].cpu())
        found = boxes_of(predictions.boxes[row], predictions.labels[row], predictions.scores[row])
        yield MediaSample(picture, {"truth": boxes_of(boxes[row], labels[row]), "prediction": found})


def boxes_of(boxes: Tensor, labels: Tensor, scores: Tensor | None = None) -> list[MediaBox]:
    """Return boxes (N, 4) xyxy with labels (N,), and scores (N,) of at least ``LOWEST``; the truth has no scores."""
    corners = boxes.detach().float().cpu().tolist()
    values = [None] * len(corners) if scores is None else scores.detach().float().cpu().tolist()
    return [
        MediaBox((box[0], box[1], box[2], box[3]), label, score)
        for box, label, score in zip(corners, labels.cpu().tolist(), values, strict=True)
        if score is None or score >= LOWEST
    ]
