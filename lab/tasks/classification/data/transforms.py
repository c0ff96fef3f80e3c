"""How images of any size become images of one size: torchvision's presets for classification.

Training: a window of random area and shape, resized (Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
section 6). Evaluation: the shorter side resized, the middle taken. Resizing is with antialiasing: of PIL images by PIL,
of tensors by torch's kernel, which is faster and differs by at most 1 level of 255 in few of the values (bilinear).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.data.images import draws
from lab.data.images.pixels import as_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

_TRIES = 10


class EvalTransform:
    """Resize and take the middle.

    Args:
        size: (height, width) of what comes out.
        resize: the shorter side before the middle is taken; 0: the whole image is resized to ``size``.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
    """

    def __init__(self, size: Sequence[int], resize: int = 0, interpolation: str = "bilinear") -> None:
        self.size, self.resize, self.interpolation = (size[0], size[1]), resize, interpolation

    def __call__(self, image: Image | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (3, H, W) uint8 of a PIL image in RGB or (3, h, w) uint8; nothing is drawn from the generator."""
        from torchvision.transforms.v2 import functional as F

        if not self.resize:
            return as_pixels(_resized(image, self.size, self.interpolation)).contiguous()
        resized = _resized(image, [self.resize], self.interpolation)
        return as_pixels(F.center_crop(resized, list(self.size))).contiguous()


class TrainTransform:
    """A random window, resized.

    Args:
        size: (height, width) of what comes out.
        area: smallest and largest share of the image that the window takes.
        ratio: smallest and largest width / height of the window.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
    """

    def __init__(
        self,
        size: Sequence[int],
        area: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
    ) -> None:
        self.size, self.area, self.ratio = (size[0], size[1]), (area[0], area[1]), (ratio[0], ratio[1])
        self.interpolation = interpolation

    def __call__(self, image: Image | Tensor, generator: torch.Generator) -> Tensor:
        """Return (3, H, W) uint8 of a PIL image in RGB or (3, h, w) uint8."""
        from torchvision.transforms.v2 import functional as F

        height, width = image.shape[-2:] if isinstance(image, Tensor) else (image.height, image.width)
        window = self.window(height, width, generator)
        return as_pixels(_resized(F.crop(image, *window), self.size, self.interpolation)).contiguous()

    def window(self, height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Return (top, left, height, width) of a window, as torchvision's ``RandomResizedCrop`` draws it."""
        low, high = (math.log(value) for value in self.ratio)
        for _ in range(_TRIES):
            area = height * width * draws.uniform(*self.area, generator)
            ratio = math.exp(draws.uniform(low, high, generator))
            wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < tall <= height:
                return draws.place_window(height, width, tall, wide, generator)
        wide = min(width, max(1, round(height * self.ratio[1])))
        tall = min(height, max(1, round(width / self.ratio[0])))
        return (height - tall) // 2, (width - wide) // 2, tall, wide


def _resized(image: Image | Tensor, size: Sequence[int], interpolation: str) -> Image | Tensor:
    """Return an image of (height, width), or of a shorter side of the one length that is given."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    present = tuple(image.shape[-2:]) if isinstance(image, Tensor) else (image.height, image.width)
    if present == tuple(size):
        return image
    resized: Image | Tensor = F.resize(image, list(size), InterpolationMode(interpolation), antialias=True)
    return resized
