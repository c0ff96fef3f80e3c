"""Augmentation of images with boxes, as DETR (Carion et al., 2020, section 4 and appendix A.4) trains and evaluates.

Training: a horizontal flip, then with equal probability either a resize of the shorter side to one of several scales,
or a resize, a random crop and another resize. Evaluation: one resize. Pixels are changed only by torchvision's
transforms v2 functionals. Every random decision is drawn from the caller's generator, never from global state, so that
a sample is a function of (seed, epoch, index) for any number of workers and ranks.

Resizing is bilinear with antialiasing. A PIL image is resized by PIL, as in the reference. A uint8 tensor is resized by
torch's kernel: about four times as fast, and at most 1 level of 255 away from PIL in about 0.1 % of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lab.checking import check_range
from lab.data.images import draws
from lab.data.images.resizing import adjust_color, pair, resized_size
from lab.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

DETR_SCALES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
DETR_CROP_SCALES = (400, 500, 600)
DETR_CROP_RANGE = (384, 600)


class Transformed(NamedTuple):
    """An image and its annotations after a transform.

    Attributes:
        image: (3, h, w) uint8.
        boxes: (n, 4) float32 xyxy pixels of ``image``.
        labels: (n,) int64.
        masks: (n, h, w) bool, or None.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor | None


class DetectionTransform:
    """DETR's augmentation, parametrised so that small networks can use small images.

    Args:
        train: augment at random; otherwise only resize, to the last of ``scales`` or to ``size``.
        scales: lengths of the shorter side; one is drawn in training.
        max_size: the limit of the longer side after a resize to one of ``scales``.
        crop_scales: lengths of the shorter side before the random crop; empty switches cropping off.
        crop_range: smallest and largest side of the crop.
        crop_probability: probability of the branch with the crop.
        flip: probability of a horizontal flip.
        vertical_flip: probability of a vertical flip, for images without a top and a bottom.
        size: resize to this (height, width), or to a square of this side, instead of ``scales`` and crops; the aspect
            ratio is not kept, nothing is padded.
        zoom: (smallest, largest) factor of a random zoom before the resize. Above 1 the image is cropped, below 1 it is
            placed on a larger black canvas. None switches it off.
        color: strength of a random change of brightness, contrast and saturation, each by a factor drawn from
            ``1 - color .. 1 + color``; 0 switches it off.
        min_visible: after a crop or zoom, boxes that keep less than this share of their area are dropped. 0 keeps
            everything that keeps any area, as DETR does.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        train: bool,
        scales: Sequence[int] = DETR_SCALES,
        max_size: int = 1333,
        crop_scales: Sequence[int] = DETR_CROP_SCALES,
        crop_range: Sequence[int] = DETR_CROP_RANGE,
        crop_probability: float = 0.5,
        flip: float = 0.5,
        vertical_flip: float = 0.0,
        size: int | Sequence[int] | None = None,
        zoom: Sequence[float] | None = None,
        color: float = 0.0,
        min_visible: float = 0.0,
    ) -> None:
        self.train = train
        self.scales = tuple(scales)
        self.max_size = max_size
        self.crop_scales = tuple(crop_scales)
        self.crop_range = pair("crop_range", crop_range)
        self.crop_probability = crop_probability
        self.flip = flip
        self.vertical_flip = vertical_flip
        self.size = None if size is None else (size, size) if isinstance(size, int) else pair("size", size)
        self.zoom = None if zoom is None else pair("zoom", zoom)
        self.color = color
        self.min_visible = min_visible
        self._check()

    def __call__(
        self,
        image: Image | Tensor,
        boxes: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        masks: Tensor | None = None,
    ) -> Transformed:
        """Transform one image and its annotations.

        Args:
            image: a PIL image in mode RGB, or (3, h, w) uint8.
            boxes: (n, 4) float32 xyxy pixels, inside of the image.
            labels: (n,) int64.
            generator: the source of all random decisions; not used in evaluation.
            masks: (n, h, w) bool, or None.
        """
        from torchvision.transforms.v2 import functional as F

        work = _ImageWithBoxes(image, boxes, labels, masks)
        if self.train:
            if draws.chance(self.flip, generator):
                work.flip_horizontal()
            if draws.chance(self.vertical_flip, generator):
                work.flip_vertical()
            if self.zoom is not None:
                work.crop(
                    *draws.zoom_window(*work.shape, draws.uniform(*self.zoom, generator), generator), self.min_visible
                )
        self._resize(work, generator)
        pixels = work.image if isinstance(work.image, Tensor) else F.pil_to_tensor(work.image)
        if self.train and self.color > 0:
            factors = [draws.uniform(1 - self.color, 1 + self.color, generator) for _ in range(3)]
            pixels = adjust_color(pixels, *factors)
        return Transformed(pixels, work.boxes, work.labels, work.masks)

    def _resize(self, work: _ImageWithBoxes, generator: torch.Generator) -> None:
        if self.size is not None:
            work.resize(*self.size)
            return
        if not self.train:
            work.resize(*resized_size(*work.shape, self.scales[-1], self.max_size))
            return
        if self.crop_scales and draws.chance(self.crop_probability, generator):
            work.resize(*resized_size(*work.shape, draws.choice(self.crop_scales, generator)))
            work.crop(*draws.crop_window(*work.shape, *self.crop_range, generator), self.min_visible)
        work.resize(*resized_size(*work.shape, draws.choice(self.scales, generator), self.max_size))

    def _check(self) -> None:
        if not self.scales or min(self.scales) < 1 or self.max_size < 1:
            raise ConfigError(f"scales={self.scales} and max_size={self.max_size} need positive lengths in pixels")
        if self.size is not None and min(self.size) < 1:
            raise ConfigError(f"size={self.size} is wrong: give one positive length or (height, width)")
        if self.crop_scales and not 1 <= self.crop_range[0] <= self.crop_range[1]:
            raise ConfigError(f"crop_range={self.crop_range} is wrong: give (smallest, largest) side in pixels")
        if self.zoom is not None and not 0 < self.zoom[0] <= self.zoom[1]:
            raise ConfigError(f"zoom={self.zoom} is wrong: give (smallest, largest) factor above 0")
        for name in ("flip", "vertical_flip", "crop_probability", "color", "min_visible"):
            check_range(name, getattr(self, name), least=0, most=1)


class _ImageWithBoxes:
    """An image and its boxes during a transform; every step changes both."""

    def __init__(self, image: Image | Tensor, boxes: Tensor, labels: Tensor, masks: Tensor | None) -> None:
        self.image = image
        self.boxes = boxes
        self.labels = labels
        self.masks = masks

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image in its current state."""
        if isinstance(self.image, Tensor):
            return self.image.shape[-2], self.image.shape[-1]
        return self.image.height, self.image.width

    def flip_horizontal(self) -> None:
        from torchvision.transforms.v2 import functional as F

        width = self.shape[1]
        self.image = F.horizontal_flip(self.image)
        self.boxes = self.boxes[:, [2, 1, 0, 3]] * self.boxes.new_tensor([-1, 1, -1, 1])
        self.boxes += self.boxes.new_tensor([width, 0, width, 0])
        self.masks = None if self.masks is None else self.masks.flip(-1)

    def flip_vertical(self) -> None:
        from torchvision.transforms.v2 import functional as F

        height = self.shape[0]
        self.image = F.vertical_flip(self.image)
        self.boxes = self.boxes[:, [0, 3, 2, 1]] * self.boxes.new_tensor([1, -1, 1, -1])
        self.boxes += self.boxes.new_tensor([0, height, 0, height])
        self.masks = None if self.masks is None else self.masks.flip(-2)

    def resize(self, height: int, width: int) -> None:
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as F

        old_height, old_width = self.shape
        if (height, width) == (old_height, old_width):
            return
        ratios = (width / old_width, height / old_height)
        self.image = F.resize(self.image, [height, width], antialias=True)
        self.boxes = self.boxes * self.boxes.new_tensor([*ratios, *ratios])
        if self.masks is not None:
            masks = F.resize(self.masks[:, None].to(torch.uint8), [height, width], InterpolationMode.NEAREST)
            self.masks = masks[:, 0].bool()

    def crop(self, top: int, left: int, height: int, width: int, min_visible: float = 0.0) -> None:
        """Crop to a window, which may extend beyond the image; boxes are clipped, and dropped if too little remains."""
        from torchvision.transforms.v2 import functional as F

        self.image = F.crop(self.image, top, left, height, width)
        area = _area(self.boxes)
        boxes = self.boxes - self.boxes.new_tensor([left, top, left, top])
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
        clipped = _area(boxes)
        keep = (clipped > 0) & (clipped >= min_visible * area)
        self.boxes, self.labels = boxes[keep], self.labels[keep]
        if self.masks is not None:
            self.masks = F.crop(self.masks[keep], top, left, height, width)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
