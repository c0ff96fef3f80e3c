"""Flips and shifted crops of whole batches, on the device that the batch is on.

What is done to an image is drawn where the image is read, from (seed, epoch, index), and travels as four small
numbers; the pixels travel as uint8 and are moved on the device, all images of a batch at once: by an index for each
pixel, or on a CPU by copying rows, which is several times faster. Both give the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.data.images import draws
from lab.ops.hashing import Int64Array

PixelRows = npt.NDArray[np.uint8]


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


def move_images(images: Tensor, moves: Tensor, sources: Tensor | None = None) -> Tensor:
    """Mirror and shift images.

    Args:
        images: (B, C, H, W).
        moves: (M, 4): mirrored (1) or not (0), then pixels down and pixels to the right of the mirrored image, then
            what comes in from outside: the image reflected at its edge, which is not repeated (1), or black (0). A
            shift is shorter than the side of an image that is reflected.
        sources: (M,) int64, which image each of them moves; None: every image once.

    Returns:
        (M, C, H, W) of the same kind.
    """
    if images.dtype == torch.uint8 and images.device.type == "cpu":
        images = images.contiguous()
        mirror = images.flip(-1)
        if type(mirror) is Tensor:  # a planner's tensors have no bytes
            numbers = moves.numpy().astype(np.int64)
            if _have_one_edge(numbers, images.shape[3]):
                chosen = np.arange(len(numbers)) if sources is None else sources.numpy()
                return _moved_by_rows(images, mirror, numbers, chosen)
    return moved_by_pixels(images if sources is None else images[sources], moves)


def moved_by_pixels(images: Tensor, moves: Tensor) -> Tensor:
    """Return images (B, C, H, W), each moved as ``move_images`` does; on any device, and nothing waits for it."""
    batch, channels, height, width = images.shape
    mirrored, down, right, reflected = moves.long().unbind(1)
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    inside |= reflected[:, None, None] > 0
    rows, columns = _reflected(rows, height).clamp(min=0), _reflected(columns, width).clamp(min=0)
    columns = torch.where(mirrored[:, None] > 0, width - 1 - columns, columns)
    lines = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * height + rows[:, None]
    taken = images.reshape(-1, width).index_select(0, lines.flatten()).view(batch, -1, width)
    moved = taken.gather(2, columns[:, None].expand(-1, channels * height, -1)).view_as(images)
    return moved * inside[:, None].to(images.dtype)


def _reflected(places: Any, length: int) -> Any:
    """Return places in 0..length-1, a tensor or an array: those outside are reflected at the first or last one."""
    last = length - 1
    return last - abs(last - abs(places))


def _have_one_edge(moves: Int64Array, width: int) -> bool:
    """Whether all moves (M, 4) let in the same, as those of a training do, and columns are reflected once at most."""
    reflected = moves[:, 3]
    return not reflected.any() or bool(reflected.all() and np.abs(moves[:, 2]).max() < width)


def _moved_by_rows(images: Tensor, mirror: Tensor, moves: Int64Array, sources: Int64Array) -> Tensor:
    """Return what ``moved_by_pixels`` does, of uint8 images on a CPU, by copying whole rows.

    Each row is written into a strip: mirrored, then as it is, and what a shift lets in beside both. Every row of the
    result is a part of a strip, and all of them are taken at once.
    """
    _, channels, height, width = images.shape
    mirrored, down, right, reflected = moves.T
    right, reflects = np.maximum(np.minimum(right, width), -width), bool(reflected.any())
    reach = int(np.abs(right).max(initial=0))
    pixels, strip = _strips(images.numpy(), mirror.numpy(), reach, reflects)
    plain = reach + width - 1 if reflects else 2 * reach + width
    columns = np.where(mirrored > 0, reach, plain) - right
    rows = np.arange(height) - down[:, None]  # (M, H)
    inside = (rows >= 0) & (rows < height)
    rows = _reflected(rows, height) if reflects else rows
    starts = rows * strip + (sources * (channels * height * strip) + columns)[:, None]
    starts = starts[:, None] + np.arange(channels)[:, None] * (height * strip)  # (M, C, H)
    if not reflects:
        starts = np.where(inside[:, None], starts, len(pixels) - width)
    windows = torch.from_numpy(pixels).as_strided((len(pixels) - width + 1, width), (1, 1))
    moved = windows.index_select(0, torch.from_numpy(starts.reshape(-1)))
    return moved.view(len(moves), channels, height, width)


def _strips(plain: PixelRows, mirrored: PixelRows, reach: int, reflects: bool) -> tuple[PixelRows, int]:
    """Return the bytes of a strip for each row, and after them a black row where it is needed; and a strip's length."""
    width = plain.shape[3]
    if reflects:
        tail, head = plain[..., width - 1 - reach : -1], mirrored[..., 1 : 1 + reach]
        length = 2 * (reach + width) - 1
        parts = {0: tail, reach: mirrored, reach + width: plain[..., 1:], length - reach: head}
    else:
        length = 3 * reach + 2 * width
        parts = {reach: mirrored, 2 * reach + width: plain}
    pixels = (np.empty if reflects else np.zeros)(plain[..., 0].size * length + width, np.uint8)
    strips = pixels[:-width].reshape(*plain.shape[:-1], length)
    for start, part in parts.items():
        if size := part.shape[-1]:
            strips[..., start : start + size].view(f"V{size}")[...] = part.view(f"V{size}")  # whole, not byte by byte
    return pixels, length
