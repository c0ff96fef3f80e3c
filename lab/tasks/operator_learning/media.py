"""Samples of forecasts for trackers: truth, prediction and error of the last lead time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lab.loggers.media import MediaSample
from lab.structures.operator_learning import FieldBatch
from lab.tasks.operator_learning.pictures import forecast_panels


def field_media(task: Any, outputs: Tensor, batch: FieldBatch, count: int) -> Iterator[MediaSample]:
    """Yield the pictures of the first samples of a batch."""
    for picture in forecast_panels(task, outputs, batch, count):
        yield MediaSample(picture)
