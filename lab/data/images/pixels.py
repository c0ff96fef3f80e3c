"""From pictures to tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lab.data.images.opening import ImageSource, decoded, jpeg_pixels, open_image

if TYPE_CHECKING:
    from PIL.Image import Image


def as_pixels(image: Image | Tensor) -> Tensor:
    """Return a picture in mode RGB as (3, h, w) uint8, channels last in memory; a tensor as it is.

    torchvision resizes such a tensor in a fifth of the time that Pillow takes. About one value in a thousand differs,
    by one grey level, since Pillow rounds between the two directions.
    """
    return image if isinstance(image, Tensor) else torch.from_numpy(np.array(image)).permute(2, 0, 1)


def dense(image: Tensor) -> Tensor:
    """Return an image (3, h, w) that is no window of a larger one in memory: as it is, or copied."""
    whole = image.is_contiguous() or image.permute(1, 2, 0).is_contiguous()
    return image if whole else image.contiguous()


def read_pixels(source: ImageSource, size: tuple[int, int] | None = None) -> Tensor:
    """Return the pixels of ``read_image`` as (3, h, w) uint8, channels last in memory.

    A usual JPEG is decoded by torchvision (``jpeg_pixels``), in two thirds of the time.

    Args:
        source: the file, or its content.
        size: (height, width) that its annotation states; None for that of the upright image.

    Raises:
        ImageFileError: the file cannot be read.
    """
    with open_image(source) as image:
        pixels = jpeg_pixels(image)
        return as_pixels(decoded(image, size)) if pixels is None else pixels
