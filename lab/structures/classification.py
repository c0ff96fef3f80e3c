"""Image classification: samples, targets, predictions and the protocol of classifiers.

B images in a batch, H and W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.structures.common import ClassSpec, ImageBatch, Movable, RankedLabels


@dataclass(frozen=True)
class ClassificationSpec(ClassSpec):
    """What data for classification tells: its classes.

    Attributes:
        class_counts: images of each class to train on; empty where the classes are equally frequent by construction.
        resize: the shorter side to which evaluation resizes an image, of whose middle ``input_shape`` is taken; 0: the
            image is resized to ``input_shape`` as a whole.
        interpolation: of that: ``"bilinear"`` or ``"bicubic"``.
        mean: (3) by which the task normalises images, of colours from 0 to 1.
        std: (3) likewise.
        multilabel: an image has any number of labels, instead of one.
        num_images: images to train on, if they have several labels and ``class_counts`` counts them; 0 otherwise.

    Raises:
        ValueError: ``mean`` and ``std`` are not of three colours, or ``interpolation`` is another word.
    """

    task: str = "classification"
    class_counts: tuple[int, ...] = ()
    resize: int = 0
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    multilabel: bool = False
    num_images: int = 0

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ValueError(f"mean {self.mean} and std {self.std} are not of three colours, std above 0")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"interpolation {self.interpolation[:40]!r} is neither bilinear nor bicubic")


@dataclass(frozen=True)
class UnlabelledSample:
    """An unlabelled image beside a labelled one.

    Attributes:
        image: (3, H, W) uint8 RGB, of the size of the labelled one.
        moves: of each of its K views, as ``ClassificationSample.moves``.
        chances: (1 + K, 2) int64 random numbers of 0 .. 2**31 - 1, for the labelled image and for each view.
    """

    image: Tensor
    moves: tuple[tuple[int, int, int, int], ...]
    chances: Tensor


@dataclass
class Unlabelled(Movable):
    """The unlabelled images of a batch, as many as there are labelled ones.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        moves: (B, K, 4) int16, of each of K views.
        chances: (B, 1 + K, 2) int64, for the labelled images and for each view, see ``UnlabelledSample``.
    """

    images: Tensor
    moves: Tensor
    chances: Tensor

    @property
    def num_views(self) -> int:
        """K."""
        return self.moves.shape[1]

    def rows(self, chosen: slice) -> Unlabelled:
        """Return some consecutive images."""
        return Unlabelled(self.images[chosen], self.moves[chosen], self.chances[chosen])


class Drawn(NamedTuple):
    """What is drawn for one image beside its moves; empty where it is off. See ``DrawnAugmentation``."""

    operations: tuple[tuple[int, float], ...] = ()
    erased: tuple[int, int, int, int] | tuple[()] = ()
    mixed: tuple[float, int, int, int, int] | tuple[()] = ()


@dataclass
class ClassificationSample:
    """One image and its class, as a dataset returns it for the key ``(epoch, index)``.

    Attributes:
        image: (3, H, W) uint8 RGB, of the same size for all samples, not normalised.
        label: in 0..K-1; -1 where none is known, or where there are several.
        image_id: the dataset's own id of the image.
        original_size: (height, width) of the stored image.
        moves: what the device does with the image, see ``ClassificationBatch``; None outside of training.
        augmentation: what else it does with it; None: nothing.
        unlabelled: another image, where few are labelled.
        shares: (K,) float32, 1 for each label of an image that may have several; None: ``label`` is the only one.
    """

    image: Tensor
    label: int
    image_id: int
    original_size: tuple[int, int]
    moves: tuple[int, int, int, int] | None = None
    augmentation: Drawn | None = None
    unlabelled: UnlabelledSample | None = None
    shares: Tensor | None = None


@dataclass
class ClassificationTargets(Movable):
    """What the loss compares with.

    Attributes:
        labels: (B,) int64 in 0..K-1, -1 where none is known; or (B, K) float32 shares of each class: 1 for each of
            several labels, or parts of 1 where images are mixed.
    """

    labels: Tensor

    def rows(self, chosen: slice) -> ClassificationTargets:
        """Return the targets of consecutive images."""
        return ClassificationTargets(self.labels[chosen])


@dataclass
class DrawnAugmentation(Movable):
    """What the device does with the images of a batch after moving them, drawn for each by (seed, epoch, index).

    Attributes:
        operations: (B, N) int64, the numbers of the operations that follow each other; None: no policy. They stay on
            the host, where it is decided which kernel gets which images.
        magnitudes: (B, N) float64, how strong each of them is, also on the host.
        erased: (B, 4) int16 boxes that are erased, as top, left, height and width in pixels; None: none.
        mixed: (B, 5) float32: the share that an image keeps of itself, and the box in which it shows its neighbour, as
            above; without one the whole image is mixed. None: no image is mixed.
    """

    operations: npt.NDArray[np.int64] | None = None
    magnitudes: npt.NDArray[np.float64] | None = None
    erased: Tensor | None = None
    mixed: Tensor | None = None

    def rows(self, chosen: slice) -> DrawnAugmentation:
        """Return what is done with consecutive images; for mixed ones an even number, from an even one on."""
        return DrawnAugmentation(*(None if part is None else part[chosen] for part in vars(self).values()))


@dataclass
class ClassificationBatch(ImageBatch[ClassificationTargets, ClassificationTargets]):
    """A batch of images of one size: none is padded, and the targets are the truth. See ``ImageBatch``.

    Attributes:
        moves: (B, 4) int16: mirrored or not, pixels down, pixels to the right, reflected or black what comes in, which
            the task does with the images on the device; None: images stay as they are.
        augmentation: what else it does with them; None: nothing.
        unlabelled: further images, where few are labelled; None outside of such a training.
    """

    moves: Tensor | None = None
    augmentation: DrawnAugmentation | None = None
    unlabelled: Unlabelled | None = None

    def rows(self, chosen: slice) -> Self:
        """Return the part of the batch with some consecutive images. ``totals`` stay those of the whole step."""
        return replace(
            super().rows(chosen),
            moves=None if self.moves is None else self.moves[chosen],
            augmentation=None if self.augmentation is None else self.augmentation.rows(chosen),
            unlabelled=None if self.unlabelled is None else self.unlabelled.rows(chosen),
        )


@dataclass
class Classified(RankedLabels):
    """What an image was taken for; see ``RankedLabels``.

    Attributes:
        heat: (h, w) float32 from 0 to 1: for what places of the image it was taken for the first one; None where
            ``eval.explain`` does not ask for it.
    """

    heat: Tensor | None = None


@runtime_checkable
class Classifier(Protocol):
    """The protocol of classifiers: any network that maps images to logits, as those of torchvision and timm do.

    The loss is the task's own (``lab.tasks.classification.criterion``), as it is the same for all of them.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, K)."""
        ...
