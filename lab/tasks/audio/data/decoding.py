"""Sound files as waveforms: decoded by libsndfile, mixed to one channel by the mean, resampled by soxr.

What a file is follows from its content, not from its name. libsndfile gives 8, 24 and 32 bits and floats in one scale,
full scale is 1. Resampling is soxr's HQ, whose filter has linear phase: part of a file, resampled with some of what
stands before and after it, is what it is in the whole file.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.errors import ConfigError

Waveform = npt.NDArray[np.float32]
"""(T,) samples of one channel."""
SOUND_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"}
)
BLOCK = 1 << 18
"""Frames that are decoded at once."""
_UNKNOWN = "Format not recognised"
"""What libsndfile means by what it says of a file without any frame of MP3: that it does not exist."""
MARGIN = 4096
"""Samples around a part that are resampled with it; soxr's filters are shorter."""


class SoundFileError(Exception):
    """A file has no sound that can be read; the text says why."""


@dataclass(frozen=True)
class SoundInfo:
    """What a sound file says of itself.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        frames: samples of each channel; of a file that breaks off they may be fewer.
        cut_short: the file is shorter than its header says.
    """

    sample_rate: int
    channels: int
    frames: int
    cut_short: bool

    def samples_at(self, sample_rate: int) -> int:
        """Return the samples after resampling, as soxr counts them."""
        return math.floor(self.frames * sample_rate / self.sample_rate + 0.5)


def import_library(name: str) -> ModuleType:
    """Return soundfile or soxr.

    Raises:
        ConfigError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile finds no libsndfile
        raise ConfigError(
            f"sound files are read with {name}, which cannot be imported ({error}): pip install 'lab[audio]'"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Context of an open file, which turns libsndfile's errors into one of ours."""
    library = import_library("soundfile")
    try:
        state = path.stat()
    except OSError as error:
        raise SoundFileError(error.strerror or str(error)) from error
    if not stat.S_ISREG(state.st_mode):
        raise SoundFileError("it is no regular file")
    if not state.st_size:
        raise SoundFileError("the file is empty")
    try:
        with library.SoundFile(path) as file:
            yield file
    except library.LibsndfileError as error:
        said = error.error_string.strip().removeprefix("Error : ").rstrip(".")
        raise SoundFileError(_UNKNOWN if "not a regular file" in said else said) from error


def look(path: Path) -> SoundInfo:
    """Return what the header of a file says.

    Raises:
        SoundFileError: it has none, or no samples.
    """
    with _opened(path) as file:
        info = SoundInfo(file.samplerate, file.channels, file.frames, _cut_short(path))
    if info.frames <= 0:
        raise SoundFileError("it has no samples")
    return info


def _cut_short(path: Path) -> bool:
    """Return whether a RIFF file is shorter than its header says; streams say that they have 4 GiB."""
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return False
    says = int.from_bytes(head[4:8], "little") + 8
    return says < 0x7FFF_FFFF and path.stat().st_size < says


def read_sound(path: Path, sample_rate: int, start: int = 0, count: int | None = None) -> Waveform:
    """Return a file, or a part of it, as one channel at a sample rate.

    Args:
        path: the file.
        sample_rate: to resample to, in Hz.
        start: first sample of the part, at ``sample_rate``.
        count: samples of the part; fewer are returned where the file ends. None: all to the end.

    Raises:
        SoundFileError: the file cannot be read, or holds numbers that are none.
    """
    with _opened(path) as file:
        rate = file.samplerate
        first, skipped = _aligned(start, rate, sample_rate)
        if first:
            file.seek(min(first, max(file.frames, 0)))
        wanted = None if count is None else math.ceil((skipped + count + MARGIN) * rate / sample_rate)
        mono = _decoded(file, wanted)
    if not np.isfinite(mono).all():
        raise SoundFileError("it holds numbers that are not finite")
    part = resampled(mono, rate, sample_rate)[skipped:]
    return part if count is None else part[:count]


def _aligned(start: int, rate: int, sample_rate: int) -> tuple[int, int]:
    """Return from which frame to decode for a sample ``start``, and how many resampled samples stand before it."""
    if rate == sample_rate or not start:
        return start, 0
    step = sample_rate // math.gcd(rate, sample_rate)
    begin = max(0, start - MARGIN) // step * step
    return begin * rate // sample_rate, start - begin


def _decoded(file: Any, frames: int | None) -> Waveform:
    """Return the next frames of an open file, all if None, as the mean of its channels."""
    parts: list[Waveform] = []
    left = frames
    while left is None or left > 0:
        block = file.read(BLOCK if left is None else min(BLOCK, left), dtype="float32", always_2d=True)
        if not len(block):
            break
        parts.append(block[:, 0] if block.shape[1] == 1 else block.mean(1, dtype=np.float64).astype(np.float32))
        left = None if left is None else left - len(block)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def resampled(mono: Waveform, rate: int, sample_rate: int) -> Waveform:
    """Return a waveform (T,) at another rate, in Hz."""
    if rate == sample_rate or not len(mono):
        return np.ascontiguousarray(mono)
    found: Waveform = import_library("soxr").resample(mono, rate, sample_rate)
    return found
