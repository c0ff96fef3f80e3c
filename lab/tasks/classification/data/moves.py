"""Flips and shifted crops of whole batches, on the device that the batch is on.

What is done to an image is drawn where the image is read, from (seed, epoch, index), and travels as four small
numbers; the pixels travel as uint8 and are moved on the device, all images of a batch at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.data.images import draws


def draw_moves(flip: float, shift: int, generator: torch.Generator, reflect: bool = False) -> tuple[int, int, int, int]:
    """Return (mirrored, down, right, reflected) of an image: a flip with chance ``flip``, a shift by up to ``shift``.

    A shift is what a random crop of an image does that was padded by as many pixels on all sides: by reflection if
    ``reflect``, else by black pixels.
    """
    mirrored = int(draws.chance(flip, generator))
    if not shift:
        return mirrored, 0, 0, 0
    down, right = draws.integer(-shift, shift, generator), draws.integer(-shift, shift, generator)
    return mirrored, down, right, int(reflect)


def move_images(images: Tensor, moves: Tensor) -> Tensor:
    """Mirror and shift images.

    Args:
        images: (B, C, H, W).
        moves: (B, 4): mirrored (1) or not (0), then pixels down and pixels to the right of the mirrored image, then
            what comes in from outside: the image reflected at its edge, which is not repeated (1), or black (0). A
            shift is shorter than the side of an image that is reflected.

    Returns:
        (B, C, H, W) of the same kind.
    """
    batch, channels, height, width = images.shape
    mirrored, down, right, reflected = moves.long().unbind(1)
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    inside |= reflected[:, None, None] > 0
    rows, columns = _reflected(rows, height), _reflected(columns, width)
    columns = torch.where(mirrored[:, None] > 0, width - 1 - columns, columns)
    lines = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * height + rows[:, None]
    taken = images.reshape(-1, width).index_select(0, lines.flatten()).view(batch, -1, width)
    moved = taken.gather(2, columns[:, None].expand(-1, channels * height, -1)).view_as(images)
    return moved * inside[:, None].to(images.dtype)


def _reflected(places: Tensor, length: int) -> Tensor:
    """Return places in 0..length-1: those outside are reflected at the first or last one, once."""
    last = length - 1
    return (last - (last - places.abs()).abs()).clamp(min=0)
