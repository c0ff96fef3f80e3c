"""Policies on batches of uint8 images against torchvision's transforms, image by image; draws included."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from lab.tasks.classification.data.augmentation import AugmentationOptions
from lab.tasks.classification.data.policies import OPERATIONS, apply_operations

Size = tuple[int, int]
Made = tuple[Callable[[], Tensor], Callable[[], Tensor], float]


def policy_row(policy: str) -> Callable[[int, Size, torch.device], Made]:
    """Return a function that makes the row of ``rand_augment`` or ``trivial_augment``."""

    def make(batch: int, size: Size, device: torch.device) -> Made:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator).to(device)
        options: Any = AugmentationOptions(policy=policy)  # type: ignore[arg-type]
        peer = {"rand_augment": v2.RandAugment, "trivial_augment": v2.TrivialAugmentWide}[policy]()

        def drawn() -> tuple[np.ndarray, np.ndarray]:
            pairs = np.array([options.draw(size, generator).operations for _ in range(batch)])
            return pairs[:, :, 0].astype(np.int64), pairs[:, :, 1]

        def theirs() -> Tensor:
            return torch.stack([peer(image) for image in images])

        return lambda: apply_operations(images, *drawn()), theirs, difference(images, *drawn())

    return make


def difference(images: Tensor, operations: np.ndarray, strengths: np.ndarray) -> float:
    """Return the share of pixels that differ from torchvision's operations, of the same draws."""
    found, expected = apply_operations(images, operations, strengths), []
    for image, codes, values in zip(images, operations, strengths, strict=True):
        for code, value in zip(codes, values, strict=True):
            image = theirs(image, OPERATIONS[code], float(value))
        expected.append(image)
    return float((found != torch.stack(expected)).any(1).float().mean())


def theirs(image: Tensor, operation: str, value: float) -> Tensor:
    """Return an image after torchvision's operation of that magnitude."""
    slope, corner, none = math.degrees(math.atan(value)), [0, 0], [0.0, 0.0]
    calls: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: image,
        "shear_x": lambda: F.affine(image, 0.0, corner, 1.0, [slope, 0.0], center=corner),
        "shear_y": lambda: F.affine(image, 0.0, corner, 1.0, [0.0, slope], center=corner),
        "translate_x": lambda: F.affine(image, 0.0, [int(value), 0], 1.0, none),
        "translate_y": lambda: F.affine(image, 0.0, [0, int(value)], 1.0, none),
        "rotate": lambda: F.rotate(image, value),
        "brightness": lambda: F.adjust_brightness(image, 1 + value),
        "color": lambda: F.adjust_saturation(image, 1 + value),
        "contrast": lambda: F.adjust_contrast(image, 1 + value),
        "sharpness": lambda: F.adjust_sharpness(image, 1 + value),
        "posterize": lambda: F.posterize(image, int(value)),
        "solarize": lambda: F.solarize(image, 255 * value),
        "autocontrast": lambda: F.autocontrast(image),
        "equalize": lambda: F.equalize(image),
    }
    return calls[operation]()
