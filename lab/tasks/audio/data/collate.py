"""Clips put together into a batch, shorter ones with silence behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.ops.chances import draw_integers
from lab.structures.audio import AudioBatch, AudioTargets
from lab.tasks.audio.settings import MOST_MASKS

NUM_CHANCES = 1 + 4 * MOST_MASKS
"""R, random numbers for a clip: one for mixup, two for each mask."""


@dataclass
class AudioSample:
    """One clip, as a dataset returns it for the key ``(epoch, index)``.

    Attributes:
        waveform: (T,) float32, full scale is 1.
        label: in 0..K-1; -1 where none is known, or where there are several.
        sample_id: the number of the clip.
        shares: (K,) float32, 1 for each of several labels; None: ``label`` is the only one.
        chances: (R,) int64, see ``AudioBatch``; None outside of training.
    """

    waveform: Tensor
    label: int
    sample_id: int
    shares: Tensor | None = None
    chances: Tensor | None = None


def collate_audio(samples: Sequence[AudioSample]) -> AudioBatch:
    """Put clips together into a batch.

    Args:
        samples: B clips; either all of them have ``shares`` or none, and so with ``chances``.

    Returns:
        A batch in which every clip is ``valid``.
    """
    lengths = torch.tensor([len(sample.waveform) for sample in samples], dtype=torch.int64)
    shares = [sample.shares for sample in samples if sample.shares is not None]
    chances = [sample.chances for sample in samples if sample.chances is not None]
    return AudioBatch(
        waveforms=torch.nn.utils.rnn.pad_sequence([sample.waveform for sample in samples], batch_first=True),
        lengths=lengths,
        targets=AudioTargets(torch.stack(shares) if shares else torch.tensor([sample.label for sample in samples])),
        sample_ids=torch.tensor([sample.sample_id for sample in samples], dtype=torch.int64),
        valid=torch.ones(len(samples), dtype=torch.bool),
        chances=torch.stack(chances) if chances else None,
    )


def draw_chances(generator: torch.Generator) -> Tensor:
    """Return the random numbers (R,) of a clip, for what the device draws."""
    return draw_integers(generator, NUM_CHANCES)


def label_and_shares(labels: Sequence[int], num_classes: int, multilabel: bool) -> tuple[int, Tensor | None]:
    """Return the label of a clip, or -1 and its shares (K,) where clips may have several."""
    if not multilabel:
        return labels[0], None
    shares = torch.zeros(num_classes)
    shares[list(labels)] = 1.0
    return -1, shares


def placed(waveform: Tensor, length: int, generator: torch.Generator | None) -> Tensor:
    """Return a waveform (T,) cut to a length, or with silence around it.

    Args:
        waveform: of any length.
        length: samples to return.
        generator: decides where it is cut, or where in the silence it stands; None: from its start.
    """
    spare = abs(len(waveform) - length)
    first = 0 if generator is None or not spare else int(torch.randint(0, spare + 1, (), generator=generator))
    if len(waveform) >= length:
        return waveform[first : first + length]
    return torch.nn.functional.pad(waveform, (first, spare - first))
