"""Normalisation of images for networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD


def normalize_images(
    images: Tensor,
    padding_mask: Tensor | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Turn uint8 RGB (B, 3, H, W) into float32 of a mean and standard deviation; padding becomes 0.

    Args:
        images: (B, 3, H, W) uint8.
        padding_mask: (B, H, W) bool, True where padded.
        mean: (3) that is subtracted, of colours from 0 to 1.
        std: (3) that is divided by.
    """
    means = torch.tensor(mean, device=images.device).view(3, 1, 1) * 255
    deviations = torch.tensor(std, device=images.device).view(3, 1, 1) * 255
    normalized = images.to(means.dtype, copy=True).sub_(means).div_(deviations)  # copied first: mixed types are slow
    return normalized if padding_mask is None else normalized.masked_fill_(padding_mask[:, None], 0.0)
