"""YOLO-Fastest 1.1 alone: its peer is darknet's own program, which the parity test asks."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.detr import make_targets
from benchmarks.pairs import Pair, Size, fill_norms, loss_of

from lab import create_model

NUM_CLASSES = 91


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours; images are not padded."""
    torch.manual_seed(0)
    ours: Any = create_model(name, num_classes=NUM_CLASSES)
    fill_norms(ours)
    ours = ours.to(device).train(training)
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    targets, _ = make_targets(batch, size, device)

    def outputs() -> torch.Tensor:
        return torch.cat([part.flatten() for part in ours.raw_maps(images)])

    return Pair(ours, outputs, batch, lambda: loss_of(ours, ours(images), targets))
