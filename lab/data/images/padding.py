"""Pads the images of a batch to one size.

DETR (Carion et al., 2020) pads at the right and the bottom to the largest height and width of the batch, without
rounding up to a multiple, and marks the padding in a mask. The loader keeps padding small: it groups images of similar
shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

TruthT = TypeVar("TruthT")


def pad_images(
    images: Sequence[Tensor], size: tuple[int, int] | None = None, level: int = 0
) -> tuple[Tensor, Tensor | None]:
    """Stack (3, h_i, w_i) images into (B, 3, H, W), contiguous, padded at the right and the bottom.

    Args:
        images: at least one.
        size: (H, W), in which each image fits; None: the largest height and width of the images.
        level: of the pixels that are padded.

    Returns:
        The stack and the mask (B, H, W) bool, True where padded, or None where nothing is padded.
    """
    height, width = size or (max(image.shape[-2] for image in images), max(image.shape[-1] for image in images))
    if {tuple(image.shape[-2:]) for image in images} == {(height, width)}:
        # torch.stack alone keeps the layout of images whose channels are last.
        return torch.stack(list(images), out=images[0].new_empty(len(images), *images[0].shape)), None
    stack = images[0].new_full((len(images), images[0].shape[0], height, width), level)
    mask = torch.ones((len(images), height, width), dtype=torch.bool)
    for row, image in enumerate(images):  # images differ in size, so this cannot be vectorised
        stack[row, :, : image.shape[-2], : image.shape[-1]] = image
        mask[row, : image.shape[-2], : image.shape[-1]] = False
    return stack, mask


def all_or_none(truths: Sequence[TruthT | None]) -> list[TruthT]:
    """Return the truths of all samples, or an empty list if no sample carries one.

    Raises:
        ValueError: only some of them carry ``truth``.
    """
    present = [truth for truth in truths if truth is not None]
    if present and len(present) < len(truths):
        raise ValueError(f"{len(truths) - len(present)} of {len(truths)} samples carry no truth: all need it or none")
    return present
