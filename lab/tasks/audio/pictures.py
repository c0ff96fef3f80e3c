"""Log-mel spectrograms of clips, with what they are and what they were taken for; each with its sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lab.report.canvas import BAD, GOOD, INK, Colour, contact_sheet
from lab.report.captions import captioned
from lab.report.sounds import SoundPanel
from lab.structures.audio import AudioBatch, LogMel

WIDTH = 288
"""Pixels of a picture, or more for clips of more frames."""
PALETTE = ((0, 0, 16), (48, 16, 104), (136, 32, 112), (216, 72, 72), (248, 152, 40), (252, 252, 168))
"""Colours from silence to the loudest, between which others are mixed."""


def spectrogram_panels(task: Any, outputs: Tensor, batch: AudioBatch, count: int) -> Iterator[SoundPanel]:
    """Yield the first clips of a batch with truth and prediction below, and their sounds."""
    part = batch.rows(slice(0, count))
    mel, scores = task.mel(part), task.scores(outputs[:count].detach()).cpu()
    waves, lengths = part.waveforms.float().cpu().numpy(), part.lengths.tolist()
    for row, valid in enumerate(part.valid.tolist()):
        if valid:
            lines = described(scores[row], part.targets.labels[row].cpu(), task.class_names)
            picture = panel(mel.examples[row][mel.present[row]], lines)
            text = "; ".join(line for line, _ in lines)
            yield SoundPanel(picture, waves[row, : lengths[row]], task.spec.sample_rate, text)


def described(scores: Tensor, label: Tensor, names: Sequence[str]) -> list[tuple[str, Colour]]:
    """Return the lines below a clip: what it was taken for, and what it is.

    Args:
        scores: (K) probabilities.
        label: () int64; or (K) 1 for each of several labels.
        names: of the classes.
    """
    if label.ndim == 0:
        score, found = scores.max(0)
        hit = int(found) == int(label)
        lines = [(f"{names[int(found)]} {float(score):.2f}", GOOD if hit else BAD)]
        return lines if hit or int(label) < 0 else [*lines, (f"true: {names[int(label)]}", INK)]
    predicted, true = scores > 0.5, label > 0.5
    right, wrong, missed = (
        ", ".join(names[number] for number in part.nonzero().flatten().tolist())
        for part in (predicted & true, predicted & ~true, true & ~predicted)
    )
    lines = [(right or "-", GOOD)] if right or not (wrong or missed) else []
    lines += [(f"wrong: {wrong}", BAD)] if wrong else []
    return lines + ([(f"missed: {missed}", INK)] if missed else [])


def draw_examples(mel: LogMel, labels: Tensor, names: Sequence[str], count: int) -> Image.Image:
    """Return a sheet of the first spectrograms of a batch, with the three largest shares of their classes.

    Args:
        mel: examples (B, N, frames, bands).
        labels: (B,) int64, or (B, K) shares.
        names: of the K classes.
        count: the most spectrograms.
    """
    panels = []
    for row, label in enumerate(labels[:count]):
        lines = [(text, INK) for text in named_shares(label, names)]
        panels.append(panel(mel.examples[row][mel.present[row]], lines))
    return contact_sheet(panels)


def named_shares(label: Tensor, names: Sequence[str]) -> list[str]:
    """Return the names of the three largest of a clip's classes, with their shares where they are parts.

    Args:
        label: () int64, negative where none is known; or (K) shares.
        names: of the K classes.
    """
    shares = {int(label): 1.0} if label.ndim == 0 else dict(enumerate(label.tolist()))
    largest = [item for item in sorted(shares.items(), key=lambda item: -item[1])[:3] if item[0] >= 0 and item[1] > 0]
    return [names[number] + ("" if share == 1 else f" {share:.2f}") for number, share in largest]


def panel(examples: Tensor, lines: Sequence[tuple[str, Colour]]) -> Image.Image:
    """Return examples (N, frames, bands) of a clip as one picture with lines below."""
    frames = examples.flatten(0, 1)
    return captioned(draw_mel(frames), lines, side=max(WIDTH, len(frames)))


def draw_mel(mel: Tensor) -> Image.Image:
    """Return log-mel magnitudes (frames, bands) as a picture, low bands below; its scale goes from least to most."""
    values = mel.detach().float().cpu()
    if not values.numel():
        values = torch.zeros(1, 1)
    low, high = values.min(), values.max()
    levels = ((values - low) / (high - low).clamp(min=1e-6)).T.flip(0).numpy()
    places = np.linspace(0, 1, len(PALETTE))
    colours = np.stack([np.interp(levels, places, [colour[part] for colour in PALETTE]) for part in range(3)], axis=2)
    return Image.fromarray(np.round(colours).astype(np.uint8))
