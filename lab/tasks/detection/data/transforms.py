"""Augmentation of images with boxes, as detectors of the DETR and YOLO families train and evaluate.

DETR (Carion et al., 2020, section 4 and appendix A.4) trains with a horizontal flip, then with equal probability either
a resize of the shorter side to one of several scales, or a resize, a random crop and another resize. YOLO resizes to
one size, in which images keep their aspect ratio (letterbox) or not, puts four images together (``mosaic``) and changes
colours. Evaluation: one resize. Every random decision is drawn from the caller's generator, never from global state, so
that a sample is a function of (seed, epoch, index) for any number of workers and ranks.

Resizing is bilinear with antialiasing, by torch's kernel for bytes: about four times as fast as PIL, which the authors
use, and at most 1 level of 255 away from it in about 0.1 % of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lab.checking import check_range
from lab.data.images import draws
from lab.data.images.colors import NO_CHANGE, ColorChange
from lab.data.images.pixels import as_pixels, dense
from lab.data.images.resizing import pair, resized_size
from lab.errors import ConfigError
from lab.tasks.detection.data.collate import Letterbox
from lab.tasks.detection.data.mosaic import NO_MOSAIC, BoxedImage, MosaicOptions, Others, make_mosaic

if TYPE_CHECKING:
    from PIL.Image import Image

DETR_SCALES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
DETR_CROP_SCALES = (400, 500, 600)
DETR_CROP_RANGE = (384, 600)


class Transformed(NamedTuple):
    """An image and its annotations after a transform.

    Attributes:
        image: (3, h, w) uint8; channels may be first or last in memory.
        boxes: (n, 4) float32 xyxy pixels of ``image``.
        labels: (n,) int64.
        masks: (n, h, w) bool, or None.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor | None


class DetectionTransform:
    """DETR's augmentation, parametrised so that small networks can use small images, and YOLO's.

    Args:
        train: augment at random; otherwise only resize, to the last of ``scales`` or to ``size``.
        scales: lengths of the shorter side; one is drawn in training.
        max_size: the limit of the longer side after a resize to one of ``scales``.
        crop_scales: lengths of the shorter side before the random crop; empty switches cropping off.
        crop_range: smallest and largest side of the crop.
        crop_probability: probability of the branch with the crop.
        flip: probability of a horizontal flip.
        vertical_flip: probability of a vertical flip, for images without a top and a bottom.
        size: resize to this (height, width), or to a square of this side, instead of ``scales`` and crops.
        letterbox: the aspect ratio is kept: the image becomes as large as fits into ``size``. The rest is padded where
            the batch is put together (``Letterbox``), so that boxes are scaled alone, as everywhere.
        zoom: (smallest, largest) factor of a random zoom before the resize. Above 1 the image is cropped, below 1 it is
            placed on a larger black canvas. None switches it off.
        min_visible: after a crop, zoom or mosaic, boxes that keep less than this share of their area are dropped. 0
            keeps everything that keeps any area, as DETR does.
        colors: random changes of the colours.
        mosaic: how four images are put together, which needs ``size``. A mosaic is flipped and recoloured as any
            image, but neither zoomed nor resized.

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
        min_visible: float = 0.0,
        letterbox: bool = False,
        colors: ColorChange = NO_CHANGE,
        mosaic: MosaicOptions = NO_MOSAIC,
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
        self.min_visible = min_visible
        self.letterbox, self.colors, self.mosaic = letterbox, colors, mosaic
        self._check()

    @property
    def padding(self) -> Letterbox | None:
        """What the images of a batch are padded to; None: to the largest of them."""
        return Letterbox(self.size, self.mosaic.grey) if self.letterbox and self.size is not None else None

    def __call__(
        self,
        image: Image | Tensor,
        boxes: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        masks: Tensor | None = None,
        others: Others | None = None,
    ) -> Transformed:
        """Transform one image and its annotations.

        Args:
            image: a PIL image in mode RGB, or (3, h, w) uint8.
            boxes: (n, 4) float32 xyxy pixels, inside of the image.
            labels: (n,) int64.
            generator: the source of all random decisions; not used in evaluation.
            masks: (n, h, w) bool, or None.
            others: gives the other pictures of a mosaic; None: this sample may not be one.

        Raises:
            ConfigError: it would be a mosaic, and there are masks.
        """
        made = self.train and others is not None and draws.chance(self.mosaic.probability, generator)
        if made and others is not None and self.size is not None:
            if masks is not None:
                raise ConfigError("data.augmentation.mosaic is for boxes: masks are not put together; set mosaic=0")
            pictures = [BoxedImage(as_pixels(image), boxes, labels), *(others(generator) for _ in range(3))]
            image, boxes, labels = self._mosaic(pictures, self.size, generator)
        work = _ImageWithBoxes(image, boxes, labels, masks)
        if self.train:
            if draws.chance(self.flip, generator):
                work.flip_horizontal()
            if draws.chance(self.vertical_flip, generator):
                work.flip_vertical()
            if self.zoom is not None and not made:
                work.crop(
                    *draws.zoom_window(*work.shape, draws.uniform(*self.zoom, generator), generator), self.min_visible
                )
        if not made:
            self._resize(work, generator)
        pixels = dense(as_pixels(work.image))
        if self.train:
            pixels = self.colors(pixels, generator)
        return Transformed(pixels, work.boxes, work.labels, work.masks)

    def _mosaic(self, pictures: Sequence[BoxedImage], size: tuple[int, int], generator: torch.Generator) -> BoxedImage:
        factor, center = self.mosaic.draw(size, generator)
        stored = [(item.image.shape[-2], item.image.shape[-1]) for item in pictures]
        sizes = [fitted_size(height, width, size, self.letterbox, factor) for height, width in stored]
        return make_mosaic(pictures, sizes, center, size, self.mosaic.grey, self.min_visible)

    def _resize(self, work: _ImageWithBoxes, generator: torch.Generator) -> None:
        if self.size is not None:
            work.resize(*fitted_size(*work.shape, self.size, self.letterbox))
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
        for name in ("flip", "vertical_flip", "crop_probability", "min_visible"):
            check_range(name, getattr(self, name), least=0, most=1)
        for name, wanted in (("letterbox", self.letterbox), ("mosaic", self.mosaic.probability > 0)):
            if wanted and self.size is None:
                raise ConfigError(f"data.augmentation.{name} makes images of one size: give data.augmentation.size too")


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
        self.image = F.resize(as_pixels(self.image), [height, width], antialias=True)
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


def fitted_size(
    height: int, width: int, size: tuple[int, int], letterbox: bool, factor: float = 1.0
) -> tuple[int, int]:
    """Return the (height, width) to which an image is resized.

    Args:
        height: of the image.
        width: of the image.
        size: (height, width) that it should fill, or fit in.
        letterbox: keep its aspect ratio, to the nearest pixel.
        factor: of ``size``.
    """
    ratios = factor * size[0] / height, factor * size[1] / width
    if letterbox:
        ratios = min(ratios), min(ratios)
    return max(1, round(height * ratios[0])), max(1, round(width * ratios[1]))


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
