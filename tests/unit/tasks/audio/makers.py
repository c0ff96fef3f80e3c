"""A tiny network for sound, settings of its task, and sound files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lab.registry import allow_package
from lab.structures.audio import AudioBatch, AudioSpec, LogMel
from lab.tasks.audio.data.collate import AudioSample, collate_audio, draw_chances
from lab.tasks.audio.task import AudioTask

allow_package("tests")

EVAL: dict[str, Any] = {"name": "audio", "monitor": None, "top_k": 5, "embeddings": "none"}
OPTIMIZER: dict[str, Any] = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "no_decay_norm_bias": True, "groups": []}
OPTIMIZER |= {"momentum": 0.0, "nesterov": False}
SCHEDULER: dict[str, Any] = {"name": "constant", "warmup_steps": 0}
FRAME, FRAMES = 20, 4
"""An example of the tiny network has 4 frames of 20 samples, 80 in all, and follows the one before it at once."""


class TinyListener(nn.Module):
    """Magnitudes of the spectrum of frames, and a linear layer on the mean over an example.

    Args:
        num_classes: K.
        sample_rate: in Hz.
        classes_missing: give logits of fewer classes, a mistake of a network.
    """

    def __init__(self, num_classes: int, sample_rate: int = 1000, classes_missing: int = 0) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.head = nn.Linear(FRAME // 2 + 1, num_classes - classes_missing)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters(), start=1):
                parameter.copy_((torch.arange(parameter.numel()) * (number + 1) % 7 - 3).view_as(parameter) / 5)

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> LogMel:
        """Return log magnitudes (B, N, 4, 11)."""
        whole = waveforms.shape[1] // (FRAME * FRAMES)
        frames = waveforms[:, : whole * FRAME * FRAMES].unflatten(1, (whole, FRAMES, FRAME))
        present = torch.arange(whole, device=lengths.device) < (lengths // (FRAME * FRAMES))[:, None]
        return LogMel((torch.fft.rfft(frames).abs() + 0.01).log(), present)

    def embed(self, examples: Tensor) -> Tensor:
        """Return (E, 11) for examples (E, 4, 11)."""
        return examples.mean(1)

    def forward(self, mel: LogMel) -> Tensor:
        """Return logits (B, K)."""
        logits: Tensor = self.head(self.embed(mel.examples.flatten(0, 1))).unflatten(0, mel.present.shape)
        weights = mel.present[..., None].float()
        return (logits * weights).sum(1) / weights.sum(1).clamp(min=1)


def make_spec(**other: Any) -> AudioSpec:
    """Return a description of clips of three classes at 1000 Hz."""
    fields: dict[str, Any] = {"class_names": ("a", "b", "c"), "class_counts": (4, 2, 2), "sample_rate": 1000}
    return AudioSpec(**(fields | {"example_samples": FRAME * FRAMES} | other))


def make_task(spec: AudioSpec | None = None, learning: dict[str, Any] | None = None, **other: Any) -> AudioTask:
    """Return a task of the tiny network; ``other`` are settings of the evaluation or arguments of the network."""
    net = {"_target_": "tests.unit.tasks.audio.makers.TinyListener"}
    net |= {key: value for key, value in other.items() if key not in EVAL}
    settings = EVAL | {key: value for key, value in other.items() if key in EVAL}
    return AudioTask(net, (spec or make_spec()).to_plain(), OPTIMIZER, SCHEDULER, 3, settings, learning or {})


def make_batch(labels: list[Any], lengths: list[int], train: bool = False) -> AudioBatch:
    """Return clips of tones of these lengths; a label is a number, or a list of 0 and 1 for each class."""
    samples = []
    for number, (label, length) in enumerate(zip(labels, lengths, strict=True)):
        wave = torch.sin(0.3 * (number + 1) * torch.arange(length))
        shares = torch.tensor(label, dtype=torch.float32) if isinstance(label, list) else None
        chances = draw_chances(torch.Generator().manual_seed(number)) if train else None
        samples.append(AudioSample(wave, label if shares is None else -1, number, shares, chances))
    return collate_audio(samples)
