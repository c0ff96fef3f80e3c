"""Flips and shifted crops of whole batches, on the device that the batch is on.

What is done to an image is drawn where the image is read, from (seed, epoch, index), and travels as three small
numbers; the pixels travel as uint8 and are moved on the device, all images of a batch at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.data.images import draws


def draw_moves(flip: float, shift: int, generator: torch.Generator) -> tuple[int, int, int]:
    """Return (mirrored, down, right) of an image: a flip with chance ``flip``, a shift by up to ``shift`` pixels.

    A shift is what a random crop of an image does that was padded by as many pixels on all sides.
    """
    mirrored = int(draws.chance(flip, generator))
    if not shift:
        return mirrored, 0, 0
    return mirrored, draws.integer(-shift, shift, generator), draws.integer(-shift, shift, generator)


def move_images(images: Tensor, moves: Tensor) -> Tensor:
    """Mirror and shift images; what comes in from outside is black.

    Args:
        images: (B, C, H, W).
        moves: (B, 3): mirrored (1) or not (0), then pixels down and pixels to the right of the mirrored image.

    Returns:
        (B, C, H, W) of the same kind.
    """
    batch, _, height, width = images.shape
    mirrored, down, right = moves.long().unbind(1)
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    columns = torch.where(mirrored[:, None] > 0, width - 1 - columns, columns)
    taken = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    flat = images.flatten(2)
    moved = flat.gather(2, taken.view(batch, 1, -1).expand(-1, flat.shape[1], -1)).view_as(images)
    return moved * inside[:, None].to(images.dtype)
