"""Mosaic: four images in one training sample, as YOLOv4 (Bochkovskiy et al., 2020, section 3.3) introduced it.

All four are resized by one factor and meet at a point: the first ends there, the second begins there to the right of
it, the third below, the fourth on both sides. What lies beyond the sample is cut off; what no image covers is grey.
Only what is seen of an image is resized, so that four cost about as much as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lab.checking import check_range
from lab.data.images import draws
from lab.data.images.resizing import pair
from lab.data.sampler import TrainBatches
from lab.errors import ConfigError

GREY = 114
"""The level that YOLO users know."""


class BoxedImage(NamedTuple):
    """An image with its boxes.

    Attributes:
        image: (3, h, w) uint8.
        boxes: (n, 4) float32 xyxy pixels of ``image``.
        labels: (n,) int64.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor


Others = Callable[[torch.Generator], BoxedImage]
"""Returns another picture of the training set, chosen by a generator."""


@dataclass(frozen=True)
class MosaicOptions:
    """How mosaics are made.

    Attributes:
        probability: of a sample to be a mosaic; 0 switches it off.
        scale: (smallest, largest) factor of the size that each image would have on its own.
        grey: the level where there is no image.

    Raises:
        ConfigError: a number is out of its range.
    """

    probability: float = 0.0
    scale: Sequence[float] = (0.5, 1.5)
    grey: int = GREY

    def __post_init__(self) -> None:
        check_range("mosaic", self.probability, least=0, most=1)
        check_range("grey", self.grey, least=0, most=255)
        low, high = pair("mosaic_scale", self.scale)
        if not 0.5 <= low <= high <= 2:
            raise ConfigError(f"mosaic_scale={[low, high]} is wrong: give (smallest, largest) factor from 0.5 to 2")

    def draw(self, size: tuple[int, int], generator: torch.Generator) -> tuple[float, tuple[int, int]]:
        """Return a factor and the point (x, y) at which the images meet.

        The point lies anywhere in ``size`` if each image could fill it; of smaller images nearer to the middle.
        """
        factor = draws.uniform(*pair("mosaic_scale", self.scale), generator)
        height, width = size
        reach = min(factor, 1.0) / 2
        x, y = (draws.uniform(0.5 - reach, 0.5 + reach, generator) for _ in range(2))
        return factor, (round(x * width), round(y * height))


NO_MOSAIC = MosaicOptions()


class MosaicPlan:
    """Which samples of a training may be mosaics: none near its end, if ``off`` says so.

    It is a function of (seed, epoch, index), so it is the same for any number of ranks and workers.

    Args:
        off: the share of the training's steps, at the end, that has no mosaics.
        batches: what is read, the same on all ranks; None: not known, so that no sample is near the end.
    """

    def __init__(self, off: float = 0.0, batches: TrainBatches | None = None) -> None:
        check_range("mosaic_off", off, least=0, most=1)
        self.length: int | None = None
        self._epoch, self._late = -1, torch.zeros(0, dtype=torch.bool)
        if batches is None:
            return
        self.length = batches.length
        if off > 0:
            self._epoch, step = divmod(round(batches.max_steps * (1 - off)), batches.steps_per_epoch)
            self._late = torch.ones(batches.length, dtype=torch.bool)
            self._late[batches.epoch_order(self._epoch)[:step].flatten()] = False

    def allows(self, epoch: int, index: int) -> bool:
        """Return whether a sample may be a mosaic."""
        if self._epoch < 0 or epoch < self._epoch:
            return True
        return epoch == self._epoch and not self._late[index]


def make_mosaic(
    pictures: Sequence[BoxedImage],
    sizes: Sequence[tuple[int, int]],
    center: tuple[int, int],
    size: tuple[int, int],
    grey: int = GREY,
    min_visible: float = 0.0,
) -> BoxedImage:
    """Return four pictures as one.

    Args:
        pictures: that above and left of the centre, right, below left, below right.
        sizes: (height, width) to which each is resized as a whole.
        center: (x, y) where they meet.
        size: (height, width) of the result.
        grey: the level where there is no image.
        min_visible: boxes that keep less than this share of their area are left out; 0 keeps all that keep any.
    """
    from torchvision.transforms.v2 import functional as F

    height, width = size
    canvas = pictures[0].image.new_full((3, height, width), grey)
    boxes, labels = [], []
    for number, (picture, (whole_height, whole_width)) in enumerate(zip(pictures, sizes, strict=True)):
        below, right = divmod(number, 2)
        columns = _span(picture.image.shape[-1], whole_width, center[0], width, bool(right))
        rows = _span(picture.image.shape[-2], whole_height, center[1], height, bool(below))
        if columns is None or rows is None:
            continue
        seen = picture.image[:, rows.first : rows.last, columns.first : columns.last]
        target = canvas[:, rows.begin : rows.end, columns.begin : columns.end]
        target.copy_(F.resize(seen, list(target.shape[-2:]), antialias=True))
        moved, kept = _moved(picture.boxes, columns, rows, min_visible)
        boxes.append(moved)
        labels.append(picture.labels[kept])
    return BoxedImage(canvas, torch.cat(boxes), torch.cat(labels))


class _Span(NamedTuple):
    """Which pixels ``first .. last`` of an image's row or column fill ``begin .. end`` of the mosaic."""

    first: int
    last: int
    begin: int
    end: int


def _span(stored: int, whole: int, center: int, size: int, after: bool) -> _Span | None:
    """Return what is seen of an image of ``stored`` pixels, resized to ``whole``, on one side of the centre."""
    room = size - center if after else center
    shown = min(whole, room)
    if shown <= 0:
        return None
    taken = max(1, min(stored, round(stored * shown / whole)))
    if after:
        return _Span(0, taken, center, center + shown)
    return _Span(stored - taken, stored, center - shown, center)


def _moved(boxes: Tensor, columns: _Span, rows: _Span, min_visible: float) -> tuple[Tensor, Tensor]:
    """Return boxes in pixels of the mosaic, clipped to what is seen, and (n,) bool which of them were kept."""
    low = boxes.new_tensor([columns.first, rows.first] * 2)
    clipped = (boxes - low).clamp_(min=0)
    clipped = torch.minimum(clipped, boxes.new_tensor([columns.last, rows.last] * 2) - low)
    area, whole = ((box[:, 2:] - box[:, :2]).clamp_(min=0).prod(dim=1) for box in (clipped, boxes))
    kept = (area > 0) & (area >= min_visible * whole)
    ratio_x = (columns.end - columns.begin) / (columns.last - columns.first)
    ratio_y = (rows.end - rows.begin) / (rows.last - rows.first)
    moved = clipped[kept] * boxes.new_tensor([ratio_x, ratio_y] * 2)
    return moved + boxes.new_tensor([columns.begin, rows.begin] * 2), kept
