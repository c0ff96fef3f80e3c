"""What all training images of classifiers can go through: a policy, random erasing, mixup and CutMix.

Everything is drawn for an image where it is read, from (seed, epoch, index), travels as a few numbers, and is done on
the device, all images of a batch at once.

An image is mixed with its neighbour in the order of its epoch: the first with the second, the third with the fourth.
That order is random, and a pair is never cut as long as each rank gets an even number of images at a time. So no image
is read twice, no rank needs another one's images, and the result is the same on any number of ranks and micro-batches.
What it costs: micro-batches must be even, and whoever is an image's partner has that image as its own partner (as in
timm, which mixes a batch with its reverse).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import torch
from torch import Tensor

from lab.data.images import draws
from lab.data.images.module import NamedNumbers
from lab.errors import ConfigError
from lab.ops.augmentation import erase, mix, mix_labels
from lab.ranges import Ge, Gt, Le, Len, Lt, Probability
from lab.structures.classification import ClassificationBatch, ClassificationTargets, Drawn
from lab.tasks.classification.data.moves import move_images
from lab.tasks.classification.data.policies import apply_operations, draw_operations

_TRIES = 10


@dataclass(frozen=True)
class AugmentationOptions(NamedNumbers):
    """The keys of ``data.augmentation`` that all datasets for classification share; all of it is off by default.

    Attributes:
        policy: ``"rand_augment"``, ``"trivial_augment"`` or ``"none"``.
        num_ops: operations of RandAugment on an image.
        magnitude: of RandAugment's operations, of 0 to 30.
        erase: chance that a box of an image is erased (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020): it
            gets the mean colour.
        erase_area: smallest and largest share of the image that the box takes.
        erase_ratio: smallest and largest height / width of the box.
        mixup: alpha of the Beta distribution that images are mixed by (Zhang et al., "mixup", ICLR 2018); 0: off.
        cutmix: the same for boxes of another image (Yun et al., "CutMix", ICCV 2019); 0: off.
        mix_prob: chance that an image is mixed at all.
        switch_prob: chance of CutMix where both are on.
    """

    policy: Literal["none", "rand_augment", "trivial_augment"] = "none"
    num_ops: Annotated[int, Ge(1), Le(14)] = 2
    magnitude: Annotated[int, Ge(0), Le(30)] = 9
    erase: Probability = 0.0
    erase_area: Annotated[Sequence[Annotated[float, Gt(0), Lt(1)]], Len(2, 2)] = (0.02, 0.33)
    erase_ratio: Annotated[Sequence[Annotated[float, Gt(0), Le(100)]], Len(2, 2)] = (0.3, 3.3)
    mixup: Annotated[float, Ge(0), Le(1000)] = 0.0
    cutmix: Annotated[float, Ge(0), Le(1000)] = 0.0
    mix_prob: Probability = 1.0
    switch_prob: Probability = 0.5

    @property
    def is_on(self) -> bool:
        """Whether anything is drawn."""
        return self.policy != "none" or self.erase > 0 or self.mixes

    @property
    def mixes(self) -> bool:
        """Whether images are mixed."""
        return self.mix_prob > 0 and (self.mixup > 0 or self.cutmix > 0)

    def draw(self, size: Sequence[int], generator: torch.Generator) -> Drawn | None:
        """Return what is done to an image of (height, width); None, and nothing is drawn, where all is off.

        Args:
            size: of the image as it travels.
            generator: of the sample; one number is drawn from it.
        """
        if not self.is_on:
            return None
        numbers = random.Random(draws.integer(0, 2**62, generator))
        operations = (
            () if self.policy == "none" else draw_operations(self.policy, self.num_ops, self.magnitude, size, numbers)
        )
        erased = self._draw_erased(size, numbers) if self.erase else ()
        return Drawn(operations, erased, self._draw_mixed(size, numbers) if self.mixes else ())

    def _draw_erased(self, size: Sequence[int], numbers: random.Random) -> tuple[int, int, int, int]:
        """Return top, left, height and width of a box as torchvision's ``RandomErasing`` draws it."""
        nothing = (0, 0, 0, 0)
        if numbers.random() >= self.erase:
            return nothing
        height, width = size
        for _ in range(_TRIES):
            area = height * width * numbers.uniform(*self.erase_area)
            ratio = math.exp(numbers.uniform(*map(math.log, self.erase_ratio)))
            tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if tall < height and wide < width:
                return numbers.randint(0, height - tall), numbers.randint(0, width - wide), tall, wide
        return nothing

    def _draw_mixed(self, size: Sequence[int], numbers: random.Random) -> tuple[float, int, int, int, int]:
        """Return the share that an image keeps, and the box in which it shows its neighbour."""
        if numbers.random() >= self.mix_prob:
            return 1.0, 0, 0, 0, 0
        cuts = self.cutmix > 0 and (not self.mixup or numbers.random() < self.switch_prob)
        alpha = self.cutmix if cuts else self.mixup
        share = numbers.betavariate(alpha, alpha)
        if not cuts:
            return share, 0, 0, 0, 0
        height, width = size
        top, tall = _side(height, share, numbers)
        left, wide = _side(width, share, numbers)
        if not tall or not wide:
            return 1.0, 0, 0, 0, 0
        return 1 - tall * wide / (height * width), top, left, tall, wide


@dataclass(frozen=True)
class MovesOptions(AugmentationOptions):
    """Augmentation of small images: a flip, and a shift as by a random crop of the padded image.

    Attributes:
        flip: chance to mirror an image.
        shift: the most pixels to each side.
        padding_mode: what a shift lets in: ``"constant"``: black; ``"reflect"``: the image, reflected at its edge.
    """

    flip: Probability = 0.5
    shift: Annotated[int, Ge(0), Le(1024)] = 4
    padding_mode: Literal["constant", "reflect"] = "constant"


def moves_of(
    options: AugmentationOptions, flip: float, shift: int, padding_mode: Literal["constant", "reflect"]
) -> MovesOptions:
    """Return options that also flip and shift."""
    own = {field.name: getattr(options, field.name) for field in fields(AugmentationOptions)}
    return MovesOptions(**own, flip=flip, shift=shift, padding_mode=padding_mode)


def _side(length: int, share: float, numbers: random.Random) -> tuple[int, int]:
    """Return start and length of a side of CutMix's box, cut off at the edge, as torchvision draws it."""
    middle, half = numbers.randrange(length), int(0.5 * math.sqrt(1 - share) * length)
    start, stop = max(0, middle - half), min(length, middle + half)
    return start, stop - start


def augmented_pixels(batch: ClassificationBatch) -> Tensor:
    """Return the images (B, 3, H, W) uint8 of a batch, moved and changed by its policy."""
    images = batch.images if batch.moves is None else move_images(batch.images, batch.moves)
    augmentation = batch.augmentation
    if augmentation is None or augmentation.operations is None or augmentation.magnitudes is None:
        return images
    return apply_operations(images, augmentation.operations, augmentation.magnitudes)


def erased_and_mixed(images: Tensor, batch: ClassificationBatch) -> Tensor:
    """Return normalised images (B, 3, H, W) after random erasing, mixup and CutMix; what is erased becomes 0."""
    augmentation = batch.augmentation
    if augmentation is not None and augmentation.erased is not None:
        images = erase(images, augmentation.erased)
    if augmentation is not None and augmentation.mixed is not None:
        images = mix(images, augmentation.mixed[:, 0], augmentation.mixed[:, 1:])
    return images


def mixed_targets(batch: ClassificationBatch, num_classes: int) -> ClassificationTargets:
    """Return the targets of a batch: where images are mixed, the shares of their classes.

    Raises:
        ConfigError: the number of images is odd, so that one has no neighbour.
    """
    augmentation, labels = batch.augmentation, batch.targets.labels
    if augmentation is None or augmentation.mixed is None:
        return batch.targets
    if len(labels) % 2:
        raise ConfigError(
            f"data.augmentation: mixup and cutmix mix pairs of images, and {len(labels)} are read at a time; take an "
            "even number for each rank and micro-batch"
        )
    return ClassificationTargets(mix_labels(labels, augmentation.mixed[:, 0], num_classes))
