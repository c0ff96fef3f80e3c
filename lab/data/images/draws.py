"""Random choices of augmentation: each is drawn from the generator of its sample, never from global state."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """Return a number drawn from ``low .. high``."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def chance(probability: float, generator: torch.Generator) -> bool:
    """Return True with this probability; for 0 nothing is drawn."""
    return probability > 0 and float(torch.rand((), generator=generator)) < probability


def integer(low: int, high: int, generator: torch.Generator) -> int:
    """Return an integer of ``low .. high``, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def choice(values: Sequence[int], generator: torch.Generator) -> int:
    """Return one of ``values``."""
    return values[integer(0, len(values) - 1, generator)]


def crop_window(
    height: int, width: int, smallest: int, largest: int, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a window inside of the image, its sides in ``smallest .. largest``."""
    crop_width = integer(min(smallest, width), min(largest, width), generator)
    crop_height = integer(min(smallest, height), min(largest, height), generator)
    return place_window(height, width, crop_height, crop_width, generator)


def place_window(
    height: int, width: int, crop_height: int, crop_width: int, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a window of this size somewhere inside of the image."""
    top = integer(0, height - crop_height, generator)
    left = integer(0, width - crop_width, generator)
    return top, left, crop_height, crop_width


def zoom_window(height: int, width: int, factor: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the image's size divided by ``factor``; below 1 a larger one."""
    window_height, window_width = max(1, round(height / factor)), max(1, round(width / factor))
    spare_height, spare_width = height - window_height, width - window_width
    top = integer(min(0, spare_height), max(0, spare_height), generator)
    left = integer(min(0, spare_width), max(0, spare_width), generator)
    return top, left, window_height, window_width
