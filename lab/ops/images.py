"""Normalisation, resizing and padding of images for networks."""

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


def sizes_without_padding(images: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Return (B, 2) float32, the (height, width) of each image without its padding; nothing waits for the device.

    Args:
        images: (B, 3, H, W).
        padding_mask: (B, H, W) bool, True where padded, at the right and the bottom; None when nothing is padded.
    """
    if padding_mask is None:
        size = torch.tensor(images.shape[-2:], dtype=torch.float32).to(images.device, non_blocking=True)
        return size.expand(images.shape[0], 2)
    own = ~padding_mask
    return torch.stack((own.any(dim=2).sum(dim=1), own.any(dim=1).sum(dim=1)), dim=1).float()


def own_cells(sizes: Tensor, strides: tuple[float, float], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return what is an image's own of a padded map: cells that do not begin beyond the image's edges.

    Args:
        sizes: (B, 2) (height, width) of each image without its padding.
        strides: pixels of a cell down and across.
        shape: (h, w) of the map.

    Returns:
        (B, h, w) bool, and (B, 2) the number of rows and columns.
    """
    counts = torch.stack([(sizes[:, axis] / stride).ceil() for axis, stride in enumerate(strides)], dim=1)
    rows, columns = (
        torch.arange(number, device=sizes.device) < counts[:, axis, None] for axis, number in enumerate(shape)
    )
    return rows[:, :, None] & columns[:, None], counts
