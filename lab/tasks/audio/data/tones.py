"""``data=tones``: generated tones, chirps and noises, six kinds of sound in background noise; needs no files.

All of a clip's numbers are drawn from (seed, epoch, index): kind, pitch, loudness, beginning, duration and noise. A
validation and a test clip are the same for every seed and in every epoch, so that results of several seeds compare.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from torch import Tensor

from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.ranges import Ge, Le, Positive
from lab.structures.audio import AudioSpec
from lab.tasks.audio.data.collate import AudioSample, draw_chances, label_and_shares
from lab.tasks.audio.data.module import AudioModule, samples_of

KINDS = ("tone", "buzz", "rising", "falling", "trill", "noise")
LOWEST, HIGHEST = 250.0, 3000.0
"""Hz, of the pitch of a sound; rates of 8 kHz and more hold the fundamental."""


class Tones:
    """Generated clips as a ``KeyedDataset``.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        num_samples: clips of an epoch.
        length: T, samples of a clip.
        sample_rate: in Hz.
        most_sounds: of a clip; above 1 it has several labels.
        noise: deviation of the background noise; a sound's own amplitude is from 0.1 to 0.5.
        seed: decides the training clips.
    """

    class_names = KINDS

    def __init__(
        self, split: str, num_samples: int, length: int, sample_rate: int, most_sounds: int, noise: float, seed: int
    ) -> None:
        self.split, self.num_samples, self.length, self.sample_rate = split, num_samples, length, sample_rate
        self.most_sounds, self.noise, self.seed = most_sounds, noise, seed

    def __len__(self) -> int:
        """The clips of an epoch."""
        return self.num_samples

    def __getitem__(self, key: tuple[int, int]) -> AudioSample:
        """Return the clip at ``(epoch, index)``."""
        train = self.split == "train"
        salt = {"train": self.seed, "val": -1, "test": -2}[self.split]
        generator = sample_generator(salt, key[0] if train else 0, key[1])
        count = int(torch.randint(1, self.most_sounds + 1, (), generator=generator)) if self.most_sounds > 1 else 1
        labels: list[int] = torch.randperm(len(KINDS), generator=generator)[:count].tolist()
        wave = self.noise * torch.randn(self.length, generator=generator)
        for label in labels:
            wave += draw_sound(KINDS[label], self.length, self.sample_rate, generator)
        label, shares = label_and_shares(labels, len(KINDS), self.most_sounds > 1)
        chances = draw_chances(generator) if train else None
        return AudioSample(wave.clamp(-1, 1), label, key[1], shares, chances)

    @property
    def aspect_ratios(self) -> None:
        """None: all clips have one length."""
        return

    def class_counts(self) -> ClassCounts:
        """Return the same number for each class: they are equally frequent."""
        return ClassCounts((1,) * len(KINDS), "clip")

    def fingerprint(self) -> str:
        """Return what the clips follow from."""
        numbers = (self.num_samples, self.length, self.sample_rate, self.most_sounds, self.noise, self.seed)
        return f"tones-1:{self.split}:{':'.join(map(str, numbers))}"


def draw_sound(kind: str, length: int, sample_rate: int, generator: torch.Generator) -> Tensor:
    """Return a sound (T,) float32 that fades in and out somewhere in a clip.

    Args:
        kind: one of ``KINDS``. ``tone``: a sine; ``buzz``: eight harmonics of 1/k; ``rising`` and ``falling``: a chirp
            over an octave or more, exponential in time; ``trill``: a pitch that swings; ``noise``: white noise.
        length: T.
        sample_rate: in Hz.
        generator: decides the rest.
    """
    share, place, pitch, range_, loudness, phase = torch.rand(6, generator=generator, dtype=torch.float64).tolist()
    duration = int(length * (0.4 + 0.5 * share))
    first = int(place * (length - duration))
    time = torch.arange(duration, dtype=torch.float64) / sample_rate
    if kind == "noise":
        sound = torch.randn(duration, generator=generator, dtype=torch.float64) / 2
    else:
        low = LOWEST * (HIGHEST / LOWEST / 4) ** pitch
        sound = _voice(kind, time, low, 2.0 ** (1 + range_), 2 * math.pi * phase)
    fade = (torch.minimum(time, time.flip(0)) / 0.01).clamp(max=1)
    wave = torch.zeros(length)
    wave[first : first + duration] = (sound * fade * (0.1 + 0.4 * loudness)).float()
    return wave


def _voice(kind: str, time: Tensor, low: float, ratio: float, phase: float) -> Tensor:
    """Return a sound of a pitch between ``low`` and ``low * ratio`` Hz."""
    if kind in ("rising", "falling"):
        rate = math.log(ratio) / float(time[-1])
        start, rate = (low, rate) if kind == "rising" else (low * ratio, -rate)
        return torch.sin(phase + 2 * math.pi * start * torch.expm1(rate * time) / rate)
    base = phase + 2 * math.pi * low * math.sqrt(ratio) * time
    if kind == "trill":
        swing = 0.15 * low * math.sqrt(ratio)
        return torch.sin(base - swing / 8 * torch.cos(2 * math.pi * 8 * time))
    if kind == "buzz":
        base = phase + math.pi * low * time
        return torch.stack([torch.sin(k * base) / k for k in range(1, 9)]).sum(0) / 1.5
    return torch.sin(base)


@dataclass(eq=False)
class TonesModule(AudioModule):
    """``data=tones``: generated clips, endless in training, fixed in validation and test.

    Args:
        most_sounds: of a clip; above 1 a clip has from one to so many labels.
        noise: deviation of the background noise.
        num_train: clips in an epoch; every epoch has new ones.
        num_val: clips of the validation set.
        num_test: clips of the test set.
    """

    _: KW_ONLY
    most_sounds: Annotated[int, Ge(1), Le(6)] = 1
    noise: Annotated[float, Ge(0), Le(1)] = 0.2
    num_train: Positive = 2048
    num_val: Positive = 256
    num_test: Positive = 512

    @property
    def spec(self) -> AudioSpec:
        """The kinds of sound are the classes."""
        return AudioSpec(
            class_names=KINDS,
            input_shape=(1, self._length),
            sample_rate=self.sample_rate,
            example_samples=self.example_samples,
            multilabel=self.most_sounds > 1,
        )

    @property
    def _length(self) -> int:
        return max(self.clip_samples or samples_of(0.975, self.sample_rate), self.example_samples)

    def build(self, split: str) -> Tones:
        """Return the clips of a split."""
        count = {"train": self.num_train, "val": self.num_val, "test": self.num_test}[split]
        return Tones(split, count, self._length, self.sample_rate, self.most_sounds, self.noise, self.seed)
