"""Samples of frames for trackers: truth and prediction in all cameras and from above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.loggers.media import MediaSample
from lab.structures.detection3d import MultiviewBatch
from lab.tasks.detection3d.pictures import frame_panels


def frame_media(task: Any, outputs: Any, batch: MultiviewBatch, count: int) -> Iterator[MediaSample]:
    """Yield the sheets of the first frames of a batch."""
    for picture in frame_panels(task, outputs, batch, count):
        yield MediaSample(picture)
