"""``data.augmentation`` of detection: what all datasets share, and the DataModule's part of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from lab.data.datamodule import DataModule
from lab.data.images import draws
from lab.data.images.colors import ColorChange
from lab.data.images.module import NamedNumbers
from lab.data.images.resizing import pair, sample_generator
from lab.data.sampler import TrainBatches
from lab.errors import ConfigError
from lab.ranges import Ge, Le, Len, MultipleOf, Probability, Strength
from lab.structures import DetectionBatch, DetectionSample
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.mosaic import MosaicOptions, MosaicPlan
from lab.tasks.detection.data.transforms import DetectionTransform

STRIDE = 32
"""The sides of multi-scale training are multiples of it."""
_OF_SIZES = -1
"""Stands for the epoch where the generator of a step's size is made, so that no sample has the same generator."""


@dataclass(frozen=True)
class BoxAugmentation(NamedNumbers):
    """The keys of ``data.augmentation`` that all datasets for detection share; all of it is off by default.

    Attributes:
        flip: probability of a horizontal flip.
        vertical_flip: probability of a vertical flip.
        letterbox: images keep their aspect ratio and are padded to one size, in training and evaluation; otherwise
            they are stretched to it.
        grey: the level of the padding, and of what no image covers in a mosaic.
        mosaic: probability that a sample is four images in one.
        mosaic_scale: (smallest, largest) factor of their size.
        mosaic_off: the share of the training's steps, at the end, without mosaics.
        min_visible: boxes that keep less than this share of their area in a crop, zoom or mosaic are dropped.
        color: see ``ColorChange``, as for ``hsv``, ``contrast`` and ``brightness``.
        multi_scale: (smallest, largest) longer side of the images of a step, multiples of 32; one is drawn for each
            optimizer step.
    """

    flip: Probability = 0.0
    vertical_flip: Probability = 0.0
    letterbox: bool = False
    grey: Annotated[int, Ge(0), Le(255)] = 114
    mosaic: Probability = 0.0
    mosaic_scale: Annotated[Sequence[Annotated[float, Ge(0.5), Le(2)]], Len(2, 2)] = (0.5, 1.5)
    mosaic_off: Probability = 0.0
    min_visible: Probability = 0.0
    color: Strength = 0.0
    hsv: Annotated[Sequence[Probability], Len(3, 3)] | None = None
    contrast: Annotated[Sequence[Annotated[float, Ge(0), Le(10)]], Len(2, 2)] | None = None
    brightness: Annotated[Sequence[Annotated[float, Ge(-255), Le(255)]], Len(2, 2)] | None = None
    multi_scale: Annotated[Sequence[Annotated[int, MultipleOf(32), Ge(32), Le(4096)]], Len(2, 2)] | None = None

    @property
    def colors(self) -> ColorChange:
        """The changes of colours."""
        return ColorChange(self.color, self.hsv, self.contrast, self.brightness)

    @property
    def mosaics(self) -> MosaicOptions:
        """How mosaics are made."""
        return MosaicOptions(self.mosaic, self.mosaic_scale, self.grey)

    def fixed(self, train: bool, size: tuple[int, int]) -> DetectionTransform:
        """Return the transform of images that all become one size, without crops and zooms."""
        return DetectionTransform(
            train=train,
            flip=self.flip,
            vertical_flip=self.vertical_flip,
            size=size,
            min_visible=self.min_visible,
            letterbox=self.letterbox,
            colors=self.colors,
            mosaic=self.mosaics,
        )

    @property
    def changes_scenes(self) -> bool:
        """Whether scenes of one size are changed before they are put together into a batch."""
        return bool(self.flip or self.vertical_flip or self.mosaic or self.colors.any)


class AugmentedModule(DataModule, ABC):
    """Base of the DataModules of detection.

    Attributes:
        numbers: the options of ``data.augmentation``.
    """

    numbers: BoxAugmentation

    @abstractmethod
    def transform(self, train: bool) -> DetectionTransform:
        """Return the transform of training or evaluation."""

    @property
    def grey(self) -> int | None:
        """See ``DetectionSpec``."""
        padding = self.transform(train=False).padding
        return None if padding is None else padding.grey

    def collate(self, samples: Sequence[DetectionSample]) -> DetectionBatch:
        """Put samples together into a batch."""
        return collate_detection(samples, self.transform(train=False).padding)

    def plan_training(self, batches: TrainBatches) -> None:
        """Tell the training set which of its samples may be mosaics."""
        if self.numbers.mosaic:
            self.dataset("train").mosaics = MosaicPlan(self.numbers.mosaic_off, batches)

    def at_step(self, batch: DetectionBatch, step: int | None) -> DetectionBatch:
        """Return a micro-batch with the size that its optimizer step trains at: a function of (seed, step)."""
        if self.numbers.multi_scale is None:
            return batch
        low, high = pair("multi_scale", self.numbers.multi_scale)
        height, width = batch.images.shape[-2:]
        return replace(batch, train_size=step_size((height, width), low, high, self.seed, step))

    def check_multi_scale(self) -> None:
        """Refuse sizes that cannot be drawn.

        Raises:
            ConfigError: images have no common size, or the smallest is above the largest.
        """
        sizes = self.numbers.multi_scale
        if sizes is None:
            return
        low, high = pair("multi_scale", sizes)
        if not STRIDE <= low <= high or low % STRIDE or high % STRIDE:
            raise ConfigError(
                f"data.augmentation.multi_scale={[low, high]} is wrong: give the smallest and the largest side, "
                f"multiples of {STRIDE}"
            )
        if self.transform(train=True).size is None:
            raise ConfigError("data.augmentation.multi_scale resizes whole batches: give data.augmentation.size too")


def step_size(size: tuple[int, int], low: int, high: int, seed: int, step: int | None) -> tuple[int, int]:
    """Return the (height, width) to which the images of an optimizer step are resized, multiples of ``STRIDE``.

    Args:
        size: (height, width) of the images.
        low: the smallest longer side that is drawn, a multiple of ``STRIDE``.
        high: the largest.
        seed: decides, with the step, what is drawn.
        step: the optimizer step, from 0; None: return the largest size.
    """
    side = high
    if step is not None:
        side = STRIDE * draws.integer(low // STRIDE, high // STRIDE, sample_generator(seed, _OF_SIZES, step))
    height, width = (max(STRIDE, round(length * side / max(size) / STRIDE) * STRIDE) for length in size)
    return height, width
