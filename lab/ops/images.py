"""Normalisation and resizing of images for networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

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


def resize_batch(images: Tensor, padding_mask: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Resize a batch of images and their padding mask at once: bilinear, and to the nearest.

    Args:
        images: (B, 3, H, W) float.
        padding_mask: (B, H, W) bool, or None.
        size: (height, width) of the result.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images, padding_mask
    resized = F.interpolate(images, size, mode="bilinear", align_corners=False)
    if padding_mask is None:
        return resized, None
    return resized, F.interpolate(padding_mask[:, None].float(), size, mode="nearest")[:, 0] > 0.5
