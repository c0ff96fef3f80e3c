"""Normalisation of images for networks."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize_images(images: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Turn uint8 RGB (B, 3, H, W) into float32 with ImageNet's mean and standard deviation; padding becomes 0.

    Args:
        images: (B, 3, H, W) uint8.
        padding_mask: (B, H, W) bool, True where padded.
    """
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1) * 255
    normalized = (images - mean).div_(std)
    return normalized if padding_mask is None else normalized.masked_fill_(padding_mask[:, None], 0.0)
