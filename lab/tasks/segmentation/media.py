"""Samples of segmentations for trackers: an image, its true classes and those that were found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.loggers.media import MediaSample
from lab.report.canvas import as_picture
from lab.structures import SegmentationBatch
from lab.tasks.segmentation.pictures import segment_classes


def segmentation_media(task: Any, outputs: Any, batch: SegmentationBatch, count: int) -> Iterator[MediaSample]:
    """Yield the first images of a batch with the layers ``truth`` and ``prediction``."""
    maps = task.net.semantic(outputs, batch.targets.sizes, batch.targets.sizes)  # in pixels of the batch's images
    labels = batch.targets.labels.split(list(batch.targets.counts))
    for row in batch.valid.nonzero().flatten().tolist()[:count]:
        height, width = maps[row].shape
        picture = as_picture(batch.images[row, :, :height, :width].cpu())
        truth = segment_classes(batch.targets.segments[row, :height, :width].cpu(), labels[row].cpu())
        yield MediaSample(picture, masks={"truth": truth.numpy(), "prediction": maps[row].cpu().numpy()})
