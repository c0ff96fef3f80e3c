"""Augmentation of images with maps of segments, as MaskFormer (Cheng et al., 2021, section 4.1) trains and evaluates.

Training: a resize of the shorter side to one of several scales, a random crop in which no class may exceed a share of
the pixels, the colour distortion of SSD (Liu et al., 2016, section 2.2), a horizontal flip. For panoptic COCO the
resizes and crops are DETR's. Evaluation: one resize. Nothing is padded here. Every random decision is drawn from the
caller's generator, so that a sample is a function of (seed, epoch, index).

Images are resized as in ``lab.data.images.resizing``. A map is not resized step by step: the steps are composed into
vectors of source rows and columns, and its pixels are gathered once, each from the nearest source (PIL's rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.checking import check_range
from lab.data.images import draws
from lab.data.images.pixels import as_pixels
from lab.data.images.resizing import pair, resized_size
from lab.errors import ConfigError
from lab.tasks.segmentation.data.segments import count_pixels, drop_empty

if TYPE_CHECKING:
    from PIL.Image import Image

SSD_BRIGHTNESS = 32  # added, of 255
SSD_FACTOR = 0.5  # contrast and saturation: 1 - 0.5 .. 1 + 0.5
SSD_HUE = 0.1  # of a full turn: 18 of OpenCV's 180 steps


class TransformedImage(NamedTuple):
    """An image and its segments after a transform.

    Attributes:
        image: (3, h, w) uint8.
        segments: (h, w) int16, 0..n-1 or ``NO_SEGMENT``.
        labels: (n,) int64; each segment has a pixel.
    """

    image: Tensor
    segments: Tensor
    labels: Tensor


class SegmentationTransform:
    """MaskFormer's augmentation, parametrised so that small networks can use small images.

    Args:
        train: augment at random; otherwise only resize, to the last of ``scales`` or to ``size``.
        scales: lengths of the shorter side; one is drawn in training. Empty: images are not resized.
        max_size: the limit of the longer side after a resize to one of ``scales``; None for no limit.
        crop: (height, width) or side of the crop, reduced to the image's size if that is smaller; None for no crop.
        max_class_share: a crop is redrawn while one class covers more than this share of its labelled pixels.
        crop_tries: how often a crop is drawn at most; the last one is used in any case.
        detr_crop_scales: lengths of the shorter side before DETR's crop, which is made with probability one half and
            before the resize to ``scales``; empty switches it off.
        detr_crop_range: smallest and largest side of DETR's crop.
        color: strength of SSD's colour distortion, 1 as published; 0 switches it off.
        flip: probability of a horizontal flip.
        size: resize to this (height, width), or to a square of this side, instead of ``scales`` and crops; the aspect
            ratio is not kept.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        train: bool,
        scales: Sequence[int] = (),
        max_size: int | None = None,
        crop: int | Sequence[int] | None = None,
        max_class_share: float = 0.75,
        crop_tries: int = 10,
        detr_crop_scales: Sequence[int] = (),
        detr_crop_range: Sequence[int] = (384, 600),
        color: float = 0.0,
        flip: float = 0.5,
        size: int | Sequence[int] | None = None,
    ) -> None:
        self.train = train
        self.scales = tuple(scales)
        self.max_size = max_size
        self.crop = _sides("crop", crop)
        self.max_class_share, self.crop_tries = max_class_share, crop_tries
        self.detr_crop_scales = tuple(detr_crop_scales)
        self.detr_crop_range = pair("detr_crop_range", detr_crop_range)
        self.color, self.flip = color, flip
        self.size = _sides("size", size)
        self._check()

    def __call__(
        self, image: Image | Tensor, segments: Tensor, labels: Tensor, generator: torch.Generator
    ) -> TransformedImage:
        """Transform one image and its map.

        Args:
            image: a PIL image in mode RGB, or (3, h, w) uint8.
            segments: (h, w) int16.
            labels: (n,) int64, the class of each segment.
            generator: the source of all random decisions; not used in evaluation.
        """
        work = _ImageWithSegments(image, segments)
        if self.size is not None:
            work.resize(*self.size)
        elif self.train:
            self._train_size(work, labels, generator)
        elif self.scales:
            work.resize(*resized_size(*work.shape, self.scales[-1], self.max_size))
        if self.train and draws.chance(self.flip, generator):
            work.flip_horizontal()
        pixels = work.pixels()
        if self.train and self.color > 0:
            pixels = distort_color(pixels, self.color, generator)
        return TransformedImage(pixels, *drop_empty(work.segments(), labels))

    def _train_size(self, work: _ImageWithSegments, labels: Tensor, generator: torch.Generator) -> None:
        if self.detr_crop_scales and draws.chance(0.5, generator):
            work.resize(*resized_size(*work.shape, draws.choice(self.detr_crop_scales, generator)))
            work.crop(*draws.crop_window(*work.shape, *self.detr_crop_range, generator))
        if self.scales:
            work.resize(*resized_size(*work.shape, draws.choice(self.scales, generator), self.max_size))
        if self.crop is not None:
            work.crop(*self._window(work, labels, self.crop, generator))

    def _window(
        self, work: _ImageWithSegments, labels: Tensor, crop: tuple[int, int], generator: torch.Generator
    ) -> tuple[int, int, int, int]:
        """Draw crops until no class covers too much of the crop."""
        height, width = work.shape
        sides = min(crop[0], height), min(crop[1], width)
        for tries_left in reversed(range(self.crop_tries)):
            window = draws.place_window(height, width, *sides, generator)
            if not tries_left or self.max_class_share >= 1 or sides == (height, width):
                break
            counts = count_pixels(work.segments(window), len(labels))
            areas = np.bincount(labels.numpy(), weights=counts)
            if np.count_nonzero(areas) > 1 and areas.max() <= self.max_class_share * areas.sum():
                break
        return window

    def _check(self) -> None:
        if (self.scales and min(self.scales) < 1) or (self.max_size is not None and self.max_size < 1):
            raise ConfigError(f"scales={self.scales} and max_size={self.max_size} need positive lengths in pixels")
        if self.detr_crop_scales and not 1 <= self.detr_crop_range[0] <= self.detr_crop_range[1]:
            raise ConfigError(f"detr_crop_range={self.detr_crop_range} is wrong: give (smallest, largest) in pixels")
        check_range("crop_tries", self.crop_tries, least=1)
        for name in ("max_class_share", "color", "flip"):
            check_range(name, getattr(self, name), least=0, most=1)


def distort_color(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return a (3, h, w) uint8 image with SSD's colour distortion, each change made with probability one half.

    Brightness is added. Contrast is a factor on the values, applied with equal probability before or after saturation
    and hue. Saturation is a factor, and hue a shift, in 8-bit HSV (PIL's). Changes of single values use a lookup table.
    """
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor

    def draw(reach: float) -> float:
        return draws.uniform(-reach, reach, generator) if draws.chance(0.5, generator) else 0.0

    brightness = draw(SSD_BRIGHTNESS * strength)
    contrast_first = draws.chance(0.5, generator)
    contrast = 1 + draw(SSD_FACTOR * strength)
    saturation = 1 + draw(SSD_FACTOR * strength)
    hue = draw(SSD_HUE * strength)
    values = np.arange(256, dtype=np.float64)
    before = _byte(values + brightness)
    after = _byte(values * contrast)
    if contrast_first:
        before, after = after[before], _byte(values)
    turned = ((np.arange(256) + round(hue * 256)) % 256).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    if saturation == 1 and hue == 0:
        picture = picture.point(after[before].tolist() * 3)
    else:
        picture = picture.point(before.tolist() * 3).convert("HSV")
        picture = picture.point([*turned.tolist(), *_byte(values * saturation).tolist(), *range(256)]).convert("RGB")
        picture = picture if contrast_first else picture.point(after.tolist() * 3)
    return pil_to_tensor(picture)


class _ImageWithSegments:
    """An image during a transform, and the stored row and column that each of its rows and columns comes from."""

    def __init__(self, image: Image | Tensor, segments: Tensor) -> None:
        self.image, self.stored = image, segments.numpy()
        self.rows, self.columns = (np.arange(length) for length in self.stored.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image in its current state."""
        return len(self.rows), len(self.columns)

    def segments(self, window: tuple[int, int, int, int] | None = None) -> Tensor:
        """Return the map in its current state, (h, w) int16, or a window of it."""
        top, left, height, width = window or (0, 0, *self.shape)
        rows, columns = self.rows[top : top + height], self.columns[left : left + width]
        return torch.from_numpy(self.stored.take(rows, axis=0).take(columns, axis=1))

    def pixels(self) -> Tensor:
        """Return the image in its current state, (3, h, w) uint8, with its own memory."""
        return as_pixels(self.image).contiguous()

    def resize(self, height: int, width: int) -> None:
        from torchvision.transforms.v2 import functional as F

        if (height, width) != self.shape:
            self.image = F.resize(as_pixels(self.image), [height, width], antialias=True)
            self.rows, self.columns = _nearest(self.rows, height), _nearest(self.columns, width)

    def crop(self, top: int, left: int, height: int, width: int) -> None:
        from torchvision.transforms.v2 import functional as F

        self.image = F.crop(self.image, top, left, height, width)
        self.rows, self.columns = self.rows[top : top + height], self.columns[left : left + width]

    def flip_horizontal(self) -> None:
        from torchvision.transforms.v2 import functional as F

        self.image = F.horizontal_flip(self.image)
        self.columns = self.columns[::-1]


def _nearest(source: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    """Resample ``source`` to ``length`` entries, each from the nearest centre, as PIL does."""
    steps = np.full(length, len(source) / length)
    steps[0] /= 2
    return source[steps.cumsum().astype(np.intp)]  # PIL also adds step by step, so ties are broken in the same way


def _byte(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _sides(name: str, value: int | Sequence[int] | None) -> tuple[int, int] | None:
    sides = None if value is None else (value, value) if isinstance(value, int) else pair(name, value)
    if sides is not None and min(sides) < 1:
        raise ConfigError(f"{name}={value} is wrong: give one positive length or [height, width]")
    return sides
