"""Changes of the colours of uint8 images: brightness, contrast, saturation, hue.

What is changed by how much is drawn by the caller; ``ColorChange`` draws it from a sample's own generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.checking import check_range
from lab.data.images import draws
from lab.data.images.resizing import pair
from lab.errors import ConfigError

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision's rgb_to_grayscale has it
_PART = 24576
"""Pixels at a time: a float of each stays below what malloc asks the system for, page by page, which takes longer."""


@dataclass(frozen=True)
class ColorChange:
    """Random changes of the colours of an image; by default there is none.

    Attributes:
        color: brightness, contrast and saturation are each multiplied by a number of ``1 - color .. 1 + color``
            (``adjust_color``).
        hsv: (hue, saturation, value), each from 0 to 1: the hue is turned by up to this share of a circle, saturation
            and value are multiplied by a number of ``1 - gain .. 1 + gain`` (``adjust_hsv``). YOLO users know them as
            (0.015, 0.7, 0.4).
        contrast: (smallest, largest) factor of all levels (``scale_levels``). YOLO-FastestV2 trains with (0.25, 1.75).
        brightness: (smallest, largest) number of levels of 255 that is then added. YOLO-FastestV2: (0.25, 1.75).

    Raises:
        ConfigError: a number is out of its range.
    """

    color: float = 0.0
    hsv: Sequence[float] | None = None
    contrast: Sequence[float] | None = None
    brightness: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_range("color", self.color, least=0, most=1)
        if self.hsv is not None and (len(self.hsv) != 3 or not all(0 <= gain <= 1 for gain in self.hsv)):
            raise ConfigError(f"hsv={list(self.hsv)} is wrong: give three gains from 0 to 1: hue, saturation, value")
        if self.contrast is not None:
            _check_pair("contrast", self.contrast, 0, 10, "factor")
        if self.brightness is not None:
            _check_pair("brightness", self.brightness, -255, 255, "number of levels")

    @property
    def any(self) -> bool:
        """Whether colours are changed at all."""
        return bool(self.color or any(self.hsv or ()) or self.contrast or self.brightness)

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Return a (3, h, w) uint8 image with changed colours; nothing is drawn for what is off."""
        if self.color > 0:
            factors = [draws.uniform(1 - self.color, 1 + self.color, generator) for _ in range(3)]
            image = adjust_color(image, *factors)
        if self.hsv is not None and any(self.hsv):
            hue, saturation, value = (draws.uniform(-gain, gain, generator) for gain in self.hsv)
            image = adjust_hsv(image, hue, 1 + saturation, 1 + value)
        if self.contrast is not None or self.brightness is not None:
            factor = draws.uniform(*pair("contrast", self.contrast or (1.0, 1.0)), generator)
            levels = draws.uniform(*pair("brightness", self.brightness or (0.0, 0.0)), generator)
            image = scale_levels(image, factor, levels)
        return image


NO_CHANGE = ColorChange()


def adjust_color(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change brightness, contrast and saturation of a (3, h, w) uint8 image in one pass.

    The three are linear maps of RGB (Haeberli, Matrix Operations for Image Processing, 1993): composed into one 3x3
    matrix and one offset, with torchvision's definitions, in the order brightness, contrast, saturation. Values are
    rounded and clipped once at the end where a chain of three does so after each.
    """
    luma = torch.tensor(LUMA)
    matrix = brightness * contrast * (saturation * torch.eye(3) + (1 - saturation) * luma.expand(3, 3))
    flat = image.reshape(3, -1).float()
    mean = brightness * (luma @ flat.mean(dim=1))
    flat = torch.addmm(((1 - contrast) * mean).expand(3, 1), matrix, flat)
    return flat.add_(0.5).clamp_(0, 255).to(torch.uint8).reshape(image.shape)


def adjust_hsv(image: Tensor, hue: float, saturation: float, value: float) -> Tensor:
    """Turn the hue of a (3, h, w) uint8 image, and multiply its saturation and value.

    The three of a colour are those of Smith, "Color gamut transform pairs" (SIGGRAPH 1978). Saturation and value are
    clipped at 1; levels are rounded once, at the end.

    Args:
        image: RGB.
        hue: in circles, -1 to 1.
        saturation: a factor.
        value: a factor.
    """
    done = torch.empty((3, image[0].numel()), dtype=image.dtype)
    for part, out in zip(image.reshape(3, -1).split(_PART, dim=1), done.split(_PART, dim=1), strict=True):
        out.copy_(_hsv_adjusted(part.float(), hue, saturation, value))
    return done.view(image.shape)


def _hsv_adjusted(flat: Tensor, hue: float, saturation: float, value: float) -> Tensor:
    """Return changed levels (3, n), not rounded down yet."""
    high, low = flat.amax(dim=0), flat.amin(dim=0)
    chroma = (high - low).clamp_(min=1e-3)  # of grey it is multiplied by 0
    # A channel is high * (1 - S * way): way is 0 for the largest of the three and 1 for the smallest.
    share = torch.minimum(low.neg_().add_(high).mul_(saturation), high)  # S * V, clipped
    new_high = high.mul(value).clamp_(max=255)
    share.div_(high.clamp(min=1)).mul_(new_high)  # ... of the new V
    if hue % 1 == 0:
        ways = (high - flat).div_(chroma)
    else:
        sixths = _sixths(flat, high, chroma).add_(6 * hue)
        ways = _ways(sixths.sub_(sixths.div(6).floor_().mul_(6)))  # remainder_ takes four times as long
    return ways.mul_(share).neg_().add_(new_high).add_(0.5).clamp_(0, 255)


def _sixths(flat: Tensor, high: Tensor, chroma: Tensor) -> Tensor:
    """Return the hue of colours (3, N) in sixths of the circle, -1 to 5: red at 0, green at 2, blue at 4."""
    red, green, blue = flat
    hue = torch.where(green == high, (blue - red).div_(chroma).add_(2), (red - green).div_(chroma).add_(4))
    return torch.where(red == high, (green - blue).div_(chroma), hue)


def _ways(sixths: Tensor) -> Tensor:
    """Return how far red, green and blue are from the largest to the smallest level (3, N), from hues in 0..6."""
    ways = sixths - torch.tensor([[3.0], [2.0], [4.0]])
    ways.abs_()
    ways[0].neg_().add_(2)
    ways[1:].sub_(1)
    return ways.clamp_(0, 1)


def scale_levels(image: Tensor, factor: float, levels: float) -> Tensor:
    """Multiply all levels of a uint8 image by a factor and add a number, rounded and clipped to 0..255."""
    return image.float().mul_(factor).add_(levels).round_().clamp_(0, 255).to(torch.uint8)


def _check_pair(name: str, values: Sequence[float], least: float, most: float, what: str) -> None:
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        raise ConfigError(
            f"{name}={list(values)} is wrong: give the smallest and largest {what}, from {least} to {most}"
        )
