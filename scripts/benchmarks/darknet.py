"""YOLO-Fastest 1.1, whose peer would be darknet itself, a program: the parity test runs it."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.detr import make_targets
from benchmarks.pairs import Pair, Size, fill_norms, loss_of, noise_images

from lab import create_model

NUM_CLASSES = 91


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours alone; images are not padded."""
    torch.manual_seed(0)
    ours: Any = create_model(name, num_classes=NUM_CLASSES)
    fill_norms(ours)
    ours = ours.to(device).train(training)
    images = noise_images(batch, size, device)
    targets, _ = make_targets(batch, size, device)

    def outputs() -> torch.Tensor:
        return torch.cat([part.flatten() for part in ours.raw_maps(images)])

    return Pair(ours, outputs, batch, lambda: loss_of(ours, ours(images), targets))
