"""The base of all DataModules of clips of sound: lengths, batches, the input of a prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from lab.data.datamodule import DataModule
from lab.ranges import Count, Ge, Gt, Le, Positive, Seed
from lab.structures import DataSpec
from lab.structures.audio import AudioBatch, AudioSpec
from lab.tasks.audio.data.collate import AudioSample, collate_audio
from lab.tasks.audio.data.inputs import AudioInputs


@dataclass(eq=False)
class AudioModule(DataModule):
    """Base of the DataModules of sound: a subclass implements ``build`` and ``spec``.

    Args:
        batch_size: the global batch size in clips.
        num_workers: loader processes per rank.
        seed: decides the order of the clips, where they are cut, and what is drawn for them.
        sample_rate: to which all sound is resampled, in Hz.
        clip_seconds: length of a training clip: longer ones are cut anywhere, shorter ones stand anywhere in silence;
            None: clips are taken whole.
        example_seconds: length of the pieces that the network sees at once; shorter clips get silence behind them.
        example_hop_seconds: time between the starts of two of them.
        chunk_examples: examples of a file that a prediction reads at once, so that it may be longer than the memory.
    """

    task = "audio"
    sample_name = "clip"

    _: KW_ONLY
    batch_size: Positive = 32
    num_workers: Count = 0
    seed: Seed = 0
    sample_rate: Annotated[int, Ge(1000), Le(768_000)] = 16_000
    clip_seconds: Annotated[float, Gt(0), Le(3600)] | None = 0.975
    example_seconds: Annotated[float, Gt(0), Le(600)] = 0.975
    example_hop_seconds: Annotated[float, Gt(0), Le(600)] = 0.96
    chunk_examples: Positive = 64

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        self._followed: AudioSpec | None = None

    @property
    def clip_samples(self) -> int | None:
        """T of a training clip; None where clips are taken whole."""
        return None if self.clip_seconds is None else samples_of(self.clip_seconds, self.sample_rate)

    @property
    def example_samples(self) -> int:
        """The samples of an example, the fewest of a clip."""
        return samples_of(self.example_seconds, self.sample_rate)

    def follow(self, spec: DataSpec) -> None:
        """Take the sample rate and the classes from a trained task, whose network knows no others."""
        assert isinstance(spec, AudioSpec)
        self._followed = spec
        self.sample_rate = spec.sample_rate

    def collate(self, samples: Sequence[Any]) -> AudioBatch:
        """Put clips together into a batch."""
        typed: Sequence[AudioSample] = samples
        return collate_audio(typed)

    def build_inputs(self, paths: list[Path]) -> AudioInputs:
        """Return the sound files of a file or folder in chunks, to predict."""
        hop = samples_of(self.example_hop_seconds, self.sample_rate)
        return AudioInputs(paths, self.sample_rate, self.example_samples, hop, self.chunk_examples)


def samples_of(seconds: float, sample_rate: int) -> int:
    """Return the number of samples that a time takes."""
    return max(1, math.floor(seconds * sample_rate + 0.5))
