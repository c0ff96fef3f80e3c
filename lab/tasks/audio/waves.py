"""Sounds that a caller gives, for ``Task.predict``: paths, arrays, tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lab.errors import DataError
from lab.structures.audio import AudioBatch, AudioSpec
from lab.tasks.audio.data.collate import AudioSample, collate_audio
from lab.tasks.audio.data.decoding import SoundFileError, read_sound
from lab.tasks.audio.data.inputs import at_least


def batch_of_waves(inputs: Sequence[Any], spec: AudioSpec) -> AudioBatch:
    """Return sounds as a batch, prepared as in evaluation.

    Args:
        inputs: paths, or samples (T,) at the sample rate of ``spec``.
        spec: of the training data.

    Raises:
        DataError: one cannot be read, or is no sound.
    """
    return collate_audio([AudioSample(_wave(item, spec), -1, number) for number, item in enumerate(inputs)])


def _wave(item: Any, spec: AudioSpec) -> Tensor:
    if isinstance(item, str | Path):
        try:
            return at_least(read_sound(Path(item), spec.sample_rate), spec.example_samples)
        except SoundFileError as error:
            raise DataError(f"{item}: {error}") from error
    values = item.detach().cpu().numpy() if isinstance(item, Tensor) else np.asarray(item)
    if values.ndim != 1 or not len(values) or not np.issubdtype(values.dtype, np.floating):
        raise DataError(
            f"a sound is a path, or samples (T,) as floats at {spec.sample_rate} Hz whose full scale is 1, not "
            f"{type(item).__name__} {values.shape} {values.dtype}"
        )
    if not np.isfinite(values).all():
        raise DataError("the samples of a sound must be finite numbers")
    return at_least(np.ascontiguousarray(values, dtype=np.float32), spec.example_samples)
