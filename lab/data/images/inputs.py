"""Images given as Python objects: files, PIL images, arrays and tensors, one or several.

All become PIL images in RGB, so that the same pixels give the same result in any form.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lab.data.images.files import find_images
from lab.data.images.opening import ImageFileError, orientation, read_image, to_rgb, upright
from lab.errors import DataError

_TAKEN = "give a path, a PIL image, an array (h, w, 3) or (h, w), a tensor (3, h, w) or (1, h, w), or a list of such"


def split_inputs(inputs: Any) -> tuple[list[Any], bool]:
    """Return images one by one, not read yet, and whether several were given.

    Args:
        inputs: an image; or several: a list or tuple, a folder, an array (B, h, w, 3) or a tensor (B, 3, h, w).

    Raises:
        DataError: no image was given.
    """
    if isinstance(inputs, str | Path):
        found: list[Any] = list(find_images(inputs))
        several = Path(inputs).is_dir()
    elif isinstance(inputs, list | tuple) or (isinstance(inputs, Tensor | np.ndarray) and inputs.ndim == 4):
        found, several = list(inputs), True
    else:
        found, several = [inputs], False
    if not found:
        raise DataError(f"no image was given: {_TAKEN}")
    return found, several


def read_inputs(images: Sequence[Any], first: int = 0) -> list[Image.Image]:
    """Return images as RGB.

    Args:
        images: each a path, a PIL image (turned upright as its EXIF orientation says), an array (h, w, 3), (h, w, 1) or
            (h, w), or a tensor (3, h, w) or (1, h, w). Arrays and tensors are RGB in uint8, or floats from 0 to 1.
        first: the number of the first image, for messages.

    Raises:
        DataError: an image cannot be read, or has another shape, type or range; the message names it.
    """
    return [_read(image, number) for number, image in enumerate(images, start=first)]


def _read(image: Any, number: int) -> Image.Image:
    try:
        if isinstance(image, str | Path):
            return read_image(Path(image))
        if isinstance(image, Image.Image):
            return upright(to_rgb(image), orientation(image))
    except ImageFileError as error:
        name = image if isinstance(image, str | Path) else f"image {number}"
        raise DataError(f"{name}: cannot be read as an image: {error}") from error
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise _odd(number, f"a tensor of shape {tuple(image.shape)}")
        return _of_pixels(image.detach().cpu().permute(1, 2, 0), number)
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
            raise _odd(number, f"an array of shape {image.shape}")
        whole = image if image.ndim == 3 else image[..., None]
        if whole.dtype.kind not in "biuf":
            raise _odd(number, f"an array of {image.dtype}")
        return _of_pixels(torch.from_numpy(np.ascontiguousarray(whole)), number)
    raise _odd(number, f"a {type(image).__name__}")


def _of_pixels(pixels: Tensor, number: int) -> Image.Image:
    """Return the image of pixels (h, w, 3) or (h, w, 1)."""
    if 0 in pixels.shape:
        raise _odd(number, f"of shape {tuple(pixels.shape)}, without a pixel")
    if pixels.dtype.is_floating_point:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise DataError(f"image {number} has floats from {low:g} to {high:g}: they should be from 0 to 1, or uint8")
        pixels = (pixels.double() * 255).round().to(torch.uint8)
    elif pixels.dtype != torch.uint8:
        raise DataError(f"image {number} is of {pixels.dtype}: it should be of uint8, or of floats from 0 to 1")
    return Image.fromarray(pixels.expand(-1, -1, 3).contiguous().numpy())


def _odd(number: int, what: str) -> DataError:
    return DataError(f"image {number} is {what}: {_TAKEN}")
