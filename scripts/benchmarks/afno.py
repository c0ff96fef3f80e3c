"""AFNO networks."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.pairs import Pair, Size, fill_norms

from lab import create_model


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return an AFNO, see ``benchmarks.pairs.Make``; ``size`` is the grid (H, W)."""
    torch.manual_seed(0)
    ours: Any = create_model(name, image_size=size)
    fill_norms(ours)
    ours = ours.to(device).train(training)
    in_channels = ours.patch_embed.proj.in_channels
    fields = torch.randn(batch, in_channels, *size, generator=torch.Generator().manual_seed(1)).to(device)
    return Pair(ours, lambda: ours(fields), batch, lambda: ours(fields).square().mean())
