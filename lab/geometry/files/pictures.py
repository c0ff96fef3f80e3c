"""Textures in files: PNG out, PNG and JPEG in."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError

MAX_PIXELS = 64_000_000


def write_picture(texture: NDArray[np.uint8]) -> bytes:
    """Return (h, w, 3) uint8 as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(texture).save(buffer, "PNG")
    return buffer.getvalue()


def read_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return (h, w, 3) uint8 of a PNG or JPEG.

    Raises:
        GeometryError: it is neither, damaged or too large; names the file.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked below
            picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        if picture.width * picture.height > MAX_PIXELS:
            raise GeometryError(f"{name}: has {picture.width} x {picture.height} pixels; {MAX_PIXELS} are the most")
        return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, GeometryError):
            raise
        raise GeometryError(f"{name}: is no PNG or JPEG: {error}") from error
