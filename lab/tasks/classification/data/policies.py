"""RandAugment and TrivialAugment: which operations an image gets is drawn where it is read, and done in batches.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (NeurIPS 2020): a number
of operations, all of one magnitude. Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
Augmentation" (ICCV 2021), its wide space: one operation of a random magnitude. Operations, magnitudes of each bin,
signs and the nearest pixel where an image is turned are those of ``torchvision.transforms.v2``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.ops import augmentation as kernels

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
NUM_BINS = 31
"""Magnitudes of an operation, from none to the strongest."""

_FACTORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": kernels.adjust_brightness,
    "color": kernels.adjust_saturation,
    "contrast": kernels.adjust_contrast,
    "sharpness": kernels.adjust_sharpness,
}
_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {"autocontrast": kernels.autocontrast, "equalize": kernels.equalize}
_WARPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_SIGNED = frozenset((*_WARPS, *_FACTORS))


@cache
def magnitudes(policy: str, operation: str, height: int, width: int) -> tuple[float, ...]:
    """Return the magnitude of each bin: a slope, pixels, degrees, what a factor differs from 1, bits, a share of 255.

    Args:
        policy: ``"rand_augment"`` or ``"trivial_augment"``.
        operation: one of ``OPERATIONS``.
        height: of the image.
        width: of the image.
    """
    wide = policy == "trivial_augment"
    if operation == "posterize":
        lost = torch.arange(NUM_BINS) / ((NUM_BINS - 1) / (6 if wide else 4))
        return tuple((8 - lost).round().tolist())
    first, last = (
        0.0,
        {
            "shear_x": 0.99 if wide else 0.3,
            "shear_y": 0.99 if wide else 0.3,
            "translate_x": 32.0 if wide else 150.0 / 331.0 * width,
            "translate_y": 32.0 if wide else 150.0 / 331.0 * height,
            "rotate": 135.0 if wide else 30.0,
        }.get(operation, 0.0),
    )
    if operation in _FACTORS:
        last = 0.99 if wide else 0.9
    elif operation == "solarize":
        first = 1.0
    return tuple(torch.linspace(first, last, NUM_BINS).tolist())


def draw_operations(
    policy: str, num_ops: int, magnitude: int, size: Sequence[int], numbers: random.Random
) -> tuple[tuple[int, float], ...]:
    """Return (operation, magnitude) of what is done to an image one after the other.

    Args:
        policy: ``"rand_augment"``, or ``"trivial_augment"``, which draws one operation and its bin.
        num_ops: of RandAugment.
        magnitude: the bin of RandAugment, below ``NUM_BINS``.
        size: (height, width) of the image.
        numbers: what is drawn from.
    """
    drawn = []
    for _ in range(num_ops if policy == "rand_augment" else 1):
        code = numbers.randrange(len(OPERATIONS))
        place = magnitude if policy == "rand_augment" else numbers.randrange(NUM_BINS)
        strength = magnitudes(policy, OPERATIONS[code], size[0], size[1])[place]
        if OPERATIONS[code] in _SIGNED and numbers.random() < 0.5:
            strength = -strength
        drawn.append((code, strength))
    return tuple(drawn)


def apply_operations(images: Tensor, operations: npt.NDArray[np.int64], strengths: npt.NDArray[np.float64]) -> Tensor:
    """Change images, each by operations of its own; those that get the same kernel are changed at once.

    Args:
        images: (B, 3, H, W) uint8.
        operations: (B, N) numbers of ``OPERATIONS``, on the host.
        strengths: (B, N) their magnitudes.

    Returns:
        (B, 3, H, W) uint8.
    """
    if operations.size == 0:
        return images.clone()
    changed = images
    for codes, strength in zip(operations.T, strengths.T, strict=True):
        names = np.array(OPERATIONS)[codes]
        kinds = np.where(np.isin(names, _WARPS), "warp", names)
        order = np.argsort(kinds, kind="stable")
        groups = np.split(order, np.flatnonzero(kinds[order][1:] != kinds[order][:-1]) + 1)
        done = [
            _apply(kinds[rows[0]], changed.index_select(0, _beside(images, rows)), names[rows], strength[rows])
            for rows in groups
        ]
        changed = torch.cat(done).index_select(0, _beside(images, np.argsort(order)))  # index_copy_ takes longer
    return changed


def _apply(kernel: str, images: Tensor, names: npt.NDArray[np.str_], strengths: npt.NDArray[np.float64]) -> Tensor:
    if kernel == "identity":
        return images
    if kernel == "warp":
        return kernels.warp(images, _beside(images, matrices(names, strengths, images.shape[2], images.shape[3])))
    if kernel in _PLAIN:
        return _PLAIN[kernel](images)
    if kernel == "posterize":
        return kernels.posterize(images, _beside(images, strengths.astype(np.int64)))
    if kernel == "solarize":
        return kernels.solarize(images, _beside(images, (255 * strengths).astype(np.float32)))
    return _FACTORS[kernel](images, _beside(images, 1 + strengths))


def _beside(images: Tensor, values: npt.NDArray[np.generic]) -> Tensor:
    """Return values on the images' device."""
    return torch.from_numpy(values).to(images.device, non_blocking=True)


def matrices(
    names: npt.NDArray[np.str_], strengths: npt.NDArray[np.float64], height: int, width: int
) -> npt.NDArray[np.float32]:
    """Return (n, 2, 3) where the pixels of sheared, shifted and turned images come from, for ``kernels.warp``.

    Shears leave the top (``shear_x``) or left edge in place; shifts are by whole pixels; turns are counter-clockwise.
    """
    turned = np.radians(-(np.where(names == "rotate", strengths, 0.0) % 360))
    down, right = (np.where(names == name, np.trunc(strengths), 0.0) for name in ("translate_y", "translate_x"))
    across, along = (np.where(names == name, strengths, 0.0) for name in ("shear_x", "shear_y"))
    rows = [
        [np.cos(turned), np.sin(turned) + across, across * (height / 2) - right],
        [along - np.sin(turned), np.cos(turned), along * (width / 2) - down],
    ]
    return np.ascontiguousarray(np.moveaxis(np.array(rows), -1, 0), dtype=np.float32)
