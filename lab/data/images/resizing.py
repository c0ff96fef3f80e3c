"""Sizes and random numbers for transforms of images.

Sizes are rounded as in DETR (Carion et al., 2020, section 4 and appendix A.4). Every random decision is drawn from a
sample's own generator, never from global state, so that a sample is a function of (seed, epoch, index) for any number
of workers and ranks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import torch

from lab.errors import ConfigError

T = TypeVar("T")

MAX_RESIZED = 2**25  # pixels: 100 MB as RGB


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """Return the generator that decides everything about the sample ``index`` of ``epoch``."""
    digest = hashlib.blake2b(f"{seed}:{epoch}:{index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def resized_size(height: int, width: int, short: int, max_size: int | None = None) -> tuple[int, int]:
    """Return (height, width) with the shorter side at ``short`` and the longer at most ``max_size``.

    Rounds as DETR does, which torchvision's ``Resize(size, max_size)`` does not: the shorter side is rounded to the
    nearest when ``max_size`` binds, the longer side is cut down to an integer. No side is below 1, and an image is not
    enlarged to more than ``MAX_RESIZED`` pixels, however long and thin it is.
    """
    wanted = _detr_size(height, width, short, max_size)
    if 0 in wanted and max_size is not None:  # a thin strip whose shorter side ``max_size`` cuts below one pixel
        return (max_size, 1) if height > width else (1, max_size)
    share = math.sqrt(max(MAX_RESIZED, height * width) / max(1, wanted[0] * wanted[1]))
    if share >= 1:
        return wanted
    return max(1, int(wanted[0] * share)), max(1, int(wanted[1] * share))


def _detr_size(height: int, width: int, short: int, max_size: int | None) -> tuple[int, int]:
    low, high = min(height, width), max(height, width)
    if max_size is not None and high / low * short > max_size:
        short = round(max_size * low / high)
    if low == short:
        return height, width
    if width < height:
        return int(short * height / width), short
    return short, int(short * width / height)


def pair(name: str, values: Sequence[T]) -> tuple[T, T]:
    """Return the two numbers of an option; raise a ``ConfigError`` if there are not two."""
    if len(values) != 2:
        raise ConfigError(f"{name} needs two numbers, not {list(values)}")
    return values[0], values[1]
