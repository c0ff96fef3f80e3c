"""What the device does to the spectrograms of a training batch: SpecAugment and mixup.

- SpecAugment (Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
  Interspeech 2019, section 2): f ~ U[0, F] bands from f0 ~ U[0, v - f] and t ~ U[0, T] frames from t0 ~ U[0, tau - t]
  are masked, T at most a share p of the clip's frames. (The paper leaves the end of the intervals of f0 and t0 out, so
  that the last band and frame would never be masked.) Masked values become the mean of the clip, which is what the
  paper's zeros are in spectrograms of zero mean. Its time warping, the dearest part with the least effect there
  (section 5), is left out.
- mixup (Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018): neighbours of a batch (0 and 1, 2 and 3,
  ...) are mixed with a share of Beta(alpha, alpha), and their labels.

All of it follows from ``AudioBatch.chances``, so it is the same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.chances import unit
from lab.structures.audio import LogMel

TABLE = 2049
"""Entries of the table by which a uniform number becomes a share of mixup."""


def masked(mel: LogMel, chances: Tensor, settings: Mapping[str, Any]) -> LogMel:
    """Return spectrograms with masks.

    Args:
        mel: examples (B, N, frames, bands); those of a clip follow each other in time.
        chances: (B, R) int64; two for each mask, those of frequencies first.
        settings: the fields of ``SpecAugmentSettings``.
    """
    examples, present = mel
    batch, number, frames, bands = examples.shape
    drawn, length = unit(chances), present.sum(1) * frames
    hidden = torch.zeros(batch, number * frames, bands, dtype=torch.bool, device=examples.device)
    column = 0
    for _ in range(settings["frequency_masks"]):
        most = drawn.new_full((batch,), min(settings["frequency_width"], bands))
        hidden |= _span(drawn[:, column], drawn[:, column + 1], most, drawn.new_full((batch,), bands), bands)[:, None]
        column += 2
    for _ in range(settings["time_masks"]):
        most = (settings["time_share"] * length).floor().clamp(max=settings["time_width"])
        found = _span(drawn[:, column], drawn[:, column + 1], most, length, number * frames)
        hidden |= found[:, :, None]
        column += 2
    weights = present[:, :, None, None]
    total = (present.sum(1) * frames * bands).clamp(min=1)
    mean = (examples * weights).sum((1, 2, 3)) / total
    kept = torch.where(hidden.view_as(examples), mean[:, None, None, None].to(examples.dtype), examples)
    return LogMel(kept, present)


def _span(width: Tensor, place: Tensor, most: Tensor, length: Tensor, size: int) -> Tensor:
    """Return (B, size) bool, True in a span of 0 to ``most`` places (B) that begins anywhere in ``length`` (B) places.

    Args:
        width: (B) in [0, 1), from which its width follows.
        place: (B) in [0, 1), from which its beginning follows.
        most: (B) the largest width.
        length: (B) how many places there are.
        size: how many places a row has.
    """
    spans = torch.minimum((width * (most + 1)).floor(), length)
    first = (place * (length - spans + 1)).floor()
    index = torch.arange(size, device=width.device)
    return (index >= first[:, None]) & (index < (first + spans)[:, None])


def mixing_shares(chances: Tensor, alpha: float) -> Tensor:
    """Return what of each clip (B) float32 stays its own, from 0.5 to 1; two neighbours have the same share.

    With a share l of Beta(alpha, alpha) a pair gives l a + (1 - l) b and l b + (1 - l) a, so l and 1 - l are one; it is
    the larger of both.

    Args:
        chances: (B) int64, of which the first of each pair counts.
        alpha: of the Beta distribution.
    """
    drawn = unit(chances[::2])
    quantiles = upper_quantiles(alpha).to(chances.device)
    place = drawn * (TABLE - 1)
    below = place.floor().long()
    found = torch.lerp(quantiles[below], quantiles[below + 1], place - below)
    return found.float().repeat_interleave(2)


def upper_quantiles(alpha: float) -> Tensor:
    """Return the quantiles of the larger of l and 1 - l, l of Beta(alpha, alpha), from 1 down to 0.5; (TABLE) float64.

    The smaller one, x, has a density of x^(alpha - 1) (1 - x)^(alpha - 1) up to 1/2. In t = (2 x)^alpha the first
    factor, which may be infinite at 0, is gone: (1 - x)^(alpha - 1) is integrated over t by the trapezoid rule.
    """
    steps = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    small = steps ** (1 / alpha) / 2
    density = (1 - small) ** (alpha - 1)
    mass = torch.cat([density.new_zeros(1), ((density[1:] + density[:-1]) / 2).cumsum(0)])
    wanted = torch.linspace(0, 1, TABLE, dtype=torch.float64) * mass[-1]
    right = torch.searchsorted(mass, wanted).clamp(1, len(mass) - 1)
    share = ((wanted - mass[right - 1]) / (mass[right] - mass[right - 1])).clamp(0, 1)
    return 1 - torch.lerp(steps[right - 1], steps[right], share) ** (1 / alpha) / 2


def mixed(mel: LogMel, shares: Tensor) -> LogMel:
    """Return spectrograms, each mixed with its neighbour; an example that only one of both has is mixed with silence.

    Args:
        mel: of an even number B of clips.
        shares: (B) what of each stays.
    """
    examples, present = mel
    weights = shares[:, None, None, None].to(examples.dtype)
    return LogMel(examples * weights + swapped(examples) * (1 - weights), present | swapped(present))


def mixed_labels(labels: Tensor, shares: Tensor, num_classes: int) -> Tensor:
    """Return the shares of classes (B, K) of mixed clips.

    Args:
        labels: (B) int64, or shares (B, K).
        shares: (B) what of each clip stays.
        num_classes: K.
    """
    own = labels if labels.ndim == 2 else F.one_hot(labels, num_classes).float()
    return own * shares[:, None] + swapped(own) * (1 - shares[:, None])


def swapped(rows: Tensor) -> Tensor:
    """Return rows (B, ...) with neighbours exchanged."""
    return rows.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
