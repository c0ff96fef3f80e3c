"""Samples of sounds for trackers: the spectrogram, the sound, its classes and the highest scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lab.loggers.media import MediaSample
from lab.structures.audio import AudioBatch
from lab.tasks.audio.pictures import spectrogram_panels


def audio_media(task: Any, outputs: Tensor, batch: AudioBatch, count: int) -> Iterator[MediaSample]:
    """Yield the first clips of a batch: what ``pictures/`` shows of them, and the sound."""
    for panel in spectrogram_panels(task, outputs, batch, count):
        yield MediaSample(panel.picture, caption=panel.text, sound=panel.wave())
