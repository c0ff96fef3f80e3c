"""Audio: description of clips of sound, batches, predictions and the protocol of networks that classify them.

B clips in a batch, T samples of sound, N examples in a clip (pieces that the network sees at once), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from lab.structures.common import ClassSpec, Movable, RankedLabels


@dataclass(frozen=True)
class AudioSpec(ClassSpec):
    """What data of sounds tells.

    Attributes:
        input_shape: (1, T) samples of each training clip; T = 0 where clips differ in length.
        sample_rate: samples per second to which all sound is resampled, in Hz.
        example_samples: of the pieces that the network sees at once; a shorter clip gets silence behind it.
        multilabel: a clip has any number of labels, instead of one.
        class_counts: clips of each class to train on.
    """

    task: str = "audio"
    sample_rate: int = 16_000
    example_samples: int = 0
    multilabel: bool = False
    class_counts: tuple[int, ...] = ()


@dataclass
class AudioTargets(Movable):
    """What the loss compares with.

    Attributes:
        labels: (B,) int64 in 0..K-1, -1 where none is known; or (B, K) float32 shares of each class.
    """

    labels: Tensor

    def rows(self, chosen: slice) -> AudioTargets:
        """Return the targets of consecutive clips."""
        return AudioTargets(self.labels[chosen])


@dataclass
class AudioBatch(Movable):
    """A batch of clips.

    Attributes:
        waveforms: (B, T) float32, one channel, full scale is 1, zeros after the end of a clip.
        lengths: (B,) int64 samples of each clip.
        targets: see there.
        sample_ids: (B,) int64.
        valid: (B,) bool, False for a clip that only fills up the batch.
        chances: (B, R) int64 random numbers of 0 .. 2**31 - 1 by (seed, epoch, index), for what the device draws
            (masks of SpecAugment, mixup); None outside of training.
        totals: the normalisers of the whole optimizer step; None outside of training.
    """

    waveforms: Tensor
    lengths: Tensor
    targets: AudioTargets
    sample_ids: Tensor
    valid: Tensor
    chances: Tensor | None = None
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.waveforms)

    def rows(self, chosen: slice) -> Self:
        """Return consecutive clips. ``totals`` stay those of the whole step."""
        return replace(
            self,
            waveforms=self.waveforms[chosen],
            lengths=self.lengths[chosen],
            targets=self.targets.rows(chosen),
            sample_ids=self.sample_ids[chosen],
            valid=self.valid[chosen],
            chances=None if self.chances is None else self.chances[chosen],
        )


class LogMel(NamedTuple):
    """The examples of clips as a network reads them.

    Attributes:
        examples: (B, N, frames, bands) float32 log-mel magnitudes.
        present: (B, N) bool, False where a shorter clip of the batch has no example.
    """

    examples: Tensor
    present: Tensor


class ClassifiedClip(RankedLabels):
    """What a clip was taken for; see ``RankedLabels``."""


@runtime_checkable
class AudioClassifier(Protocol):
    """The protocol of networks that classify sound. The task has loss and augmentation.

    Attributes:
        sample_rate: samples per second that the front end expects, in Hz.
    """

    sample_rate: int

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> LogMel:
        """Return the examples of waveforms (B, T), zeros after ``lengths`` (B,) samples."""
        ...

    def embed(self, examples: Tensor) -> Tensor:
        """Return the embeddings (E, D) of examples (E, frames, bands)."""
        ...

    def __call__(self, mel: LogMel) -> Tensor:
        """Return logits (B, K): of a clip of several examples their mean over the examples that are present."""
        ...
