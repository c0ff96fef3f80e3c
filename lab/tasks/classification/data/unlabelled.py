"""A training set of which few images are labelled: each sample is a labelled image and an unlabelled one.

An epoch goes once through the unlabelled images, in the order of any training set. The labelled ones are repeated
beside them: through all of them in a random order, then in another one, so that none is used more than once more often
than another. What goes with what, and every random number, is a function of (seed, epoch, index): numbers are hashes,
so those of a whole batch are drawn at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.errors import ConfigError, DataError
from lab.ops import hashing
from lab.structures.classification import (
    ClassificationBatch,
    ClassificationSample,
    ClassificationTargets,
    Unlabelled,
    UnlabelledSample,
)
from lab.tasks.classification.data.augmentation import MovesOptions
from lab.tasks.classification.data.chosen import balanced_weights

_ORDER, _DRAWS = -1, 1
"""What the numbers of a seed are for: the order of the labelled images, and the draws of samples."""


class Images(Protocol):
    """Images that are read several at once."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def label_array(self) -> npt.NDArray[np.int64]:
        """Return the label of each image (n,)."""
        ...

    def still(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return images (n, 3, H, W) uint8, not moved, their labels (n,), ids (n,) and stored sizes (n, 2)."""
        ...

    def class_counts(self) -> ClassCounts:
        """Return the images of each class."""
        ...

    def fingerprint(self) -> str:
        """Return the hash of the files and of which of their images are taken."""
        ...


class PartlyLabelled:
    """Pairs of a labelled image and K views of an unlabelled one.

    Args:
        labelled: n images.
        unlabelled: N images; their labels are not used.
        num_views: K.
        moves: how labelled images and views are moved.
        seed: decides, with epoch and index, every random choice.
    """

    aspect_ratios = None

    def __init__(self, labelled: Images, unlabelled: Images, num_views: int, moves: MovesOptions, seed: int) -> None:
        self.labelled, self.unlabelled, self.num_views, self.moves = labelled, unlabelled, num_views, moves
        self.seed = seed
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """Return the number of unlabelled images."""
        return len(self.unlabelled)

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        batch = self.__getitems__([key])
        other, size = batch.unlabelled, batch.original_sizes[0].tolist()
        assert batch.moves is not None
        assert other is not None
        first, *views = [tuple(moved) for moved in [batch.moves[0].tolist(), *other.moves[0].tolist()]]
        return ClassificationSample(
            batch.images[0],
            int(batch.targets.labels),
            int(batch.image_ids),
            (size[0], size[1]),
            first,
            unlabelled=UnlabelledSample(other.images[0], tuple(views), other.chances[0]),
        )

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> ClassificationBatch:
        """Return the samples of the keys of an epoch as a batch: torch's loader asks for all of them at once."""
        epoch, indices = keys[0][0], np.array([index for _, index in keys])
        images, labels, ids, sizes = self.labelled.still(self.partners(epoch)[indices])
        parts = 1 + self.num_views
        numbers = hashing.uniform(self.seed, epoch, indices, np.full(len(indices), _DRAWS), 5 * parts)
        numbers = numbers.reshape(len(indices), parts, 5)
        moves = torch.from_numpy(draw_all(self.moves, numbers[..., :3]))
        chances = torch.from_numpy((numbers[..., 3:] * 2**31).astype(np.int64))
        return ClassificationBatch(
            images=images,
            padding_mask=None,
            targets=ClassificationTargets(labels),
            image_ids=ids,
            original_sizes=sizes,
            valid=torch.ones(len(keys), dtype=torch.bool),
            moves=moves[:, 0],
            unlabelled=Unlabelled(self.unlabelled.still(indices)[0], moves[:, 1:], chances),
        )

    def partners(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return which labelled image (N,) goes with each unlabelled one in an epoch."""
        if self._order[0] != epoch:
            count = len(self.labelled)
            generator = sample_generator(self.seed, epoch, _ORDER)
            rounds = [torch.randperm(count, generator=generator) for _ in range(-(-len(self) // count))]
            self._order = (epoch, torch.cat(rounds).numpy())
        return self._order[1]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.labelled.class_names

    def class_counts(self) -> ClassCounts:
        """Return the labelled images of each class."""
        return self.labelled.class_counts()

    def fingerprint(self) -> str:
        """Return the hash of the files, and of which images are labelled and which are not."""
        parts = self.labelled.fingerprint() + self.unlabelled.fingerprint()
        return hashlib.sha256(parts.encode()).hexdigest()


def partly_labelled(
    labelled: Images,
    unlabelled: Images,
    num_views: int,
    moves: MovesOptions,
    size: tuple[int, int],
    seed: int,
    source: str,
) -> PartlyLabelled:
    """Return a training set of labelled and unlabelled images; see ``PartlyLabelled``.

    Args:
        labelled: n images.
        unlabelled: N images.
        num_views: K.
        moves: how images are moved.
        size: (height, width) of the images.
        seed: decides every random choice.
        source: for messages.

    Raises:
        ConfigError: an augmentation is wanted that these images do not have.
        DataError: no image is unlabelled, or a shift is too large.
    """
    if moves.is_on:
        raise ConfigError(
            "data.augmentation: a model that learns from unlabelled images too flips and shifts images and does "
            "nothing else to them; leave policy, erase, mixup and cutmix off"
        )
    check_reflection(moves.shift, moves.padding_mode, size)
    if not len(unlabelled):
        raise DataError(
            f"{source}: the model learns from unlabelled images too, and all are labelled: give the number of labelled "
            "ones, data.num_labels=250"
        )
    return PartlyLabelled(labelled, unlabelled, num_views, moves, seed)


def check_reflection(shift: int, padding_mode: str, size: tuple[int, int]) -> None:
    """Refuse shifts of images of (height, width) that reflect more than there is.

    Raises:
        DataError: a shift may be as long as the shorter side.
    """
    if padding_mode == "reflect" and shift >= min(size):
        raise DataError(
            f"data.augmentation.shift={shift}: images of {size[0]}x{size[1]} are reflected by less than their "
            "shorter side; take a smaller one, or padding_mode=constant"
        )


def learnt_weights(dataset: Any) -> list[float]:
    """Return the chance of each image of a training set under which classes are drawn equally often.

    Raises:
        ConfigError: an epoch goes through unlabelled images, whose classes are not known.
    """
    if isinstance(dataset, PartlyLabelled):
        raise ConfigError("data.class_balanced=true: the model learns from unlabelled images too; leave it away")
    return balanced_weights(dataset.label_array())


def draw_all(moves: MovesOptions, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Return moves (..., 4), as ``draw_moves`` does for one image, from numbers (..., 3) in [0, 1)."""
    mirrored = numbers[..., :1] < moves.flip
    shifts = np.floor(numbers[..., 1:] * (2 * moves.shift + 1)) - moves.shift
    reflected = np.full_like(mirrored, moves.padding_mode == "reflect" and moves.shift > 0)
    return np.concatenate([mirrored, shifts, reflected], axis=-1).astype(np.int16)
