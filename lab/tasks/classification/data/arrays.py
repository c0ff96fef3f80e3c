"""Labelled images that fit in memory as one array: what IDX files and CIFAR's batches are read into."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.data.datamodule import DataModule
from lab.data.holdout import TRAIN, VAL, check_shares, hold_out
from lab.data.images.annotations import tell_once
from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.errors import DataError
from lab.ranges import Count, Options, Pixels, Positive, Seed, Share, Word
from lab.structures import KeyedDataset
from lab.structures.classification import ClassificationBatch, ClassificationSample, ClassificationSpec
from lab.tasks.classification.data.augmentation import MovesOptions
from lab.tasks.classification.data.chosen import Chosen, few_labels, long_tail, one_class
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.files import ClassificationFolder
from lab.tasks.classification.data.moves import draw_moves
from lab.tasks.classification.data.preprocessing import Preprocessed
from lab.tasks.classification.data.transforms import EvalTransform
from lab.tasks.classification.data.unlabelled import PartlyLabelled, check_reflection, learnt_weights, partly_labelled


@dataclass(frozen=True)
class Arrays:
    """The images of a set and their labels.

    Attributes:
        images: (N, C, h, w) uint8, grey (C is 1) or RGB.
        labels: (N,) int64.
        digest: of the files that they were read from.
        source: the files, for messages.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    digest: str
    source: str


class ArrayDataset:
    """Some of the images of a set; ``image_id`` is the number of an image in its set.

    Args:
        arrays: the set.
        rows: (n,) the numbers of the images to take.
        class_names: the name of each label.
        transform: resizes images.
        moves: the augmentation; None in evaluation.
        seed: decides, with epoch and index, every random choice.
    """

    aspect_ratios = None

    def __init__(
        self,
        arrays: Arrays,
        rows: npt.NDArray[np.int64],
        class_names: tuple[str, ...],
        transform: EvalTransform,
        moves: MovesOptions | None,
        seed: int,
    ) -> None:
        self.arrays, self.rows, self.class_names, self.transform = arrays, rows, class_names, transform
        self.moves, self.seed = moves, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        epoch, index = key
        row = int(self.rows[index])
        image = self.transform(torch.from_numpy(self.arrays.images[row]).expand(3, -1, -1))
        moves = augmentation = None
        if self.moves is not None:
            generator, reflect = sample_generator(self.seed, epoch, index), self.moves.padding_mode == "reflect"
            moves = draw_moves(self.moves.flip, self.moves.shift, generator, reflect)
            augmentation = self.moves.draw(image.shape[1:], generator)
        label, stored = int(self.arrays.labels[row]), self.arrays.images.shape[2:]
        return ClassificationSample(image, label, row, stored, moves, augmentation)

    def still(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return images (n, 3, H, W) uint8, not moved, their labels (n,), ids (n,) and stored sizes (n, 2)."""
        rows = self.rows[indices]
        images = torch.from_numpy(self.arrays.images[rows]).expand(-1, 3, -1, -1)
        labels = torch.from_numpy(self.arrays.labels[rows])
        sizes = torch.from_numpy(np.full((len(rows), 2), self.arrays.images.shape[2:]))
        return self.transform(images).contiguous(), labels, torch.from_numpy(rows), sizes

    def label_array(self) -> npt.NDArray[np.int64]:
        """Return the label of each image (n,)."""
        return self.arrays.labels[self.rows]

    def class_counts(self) -> ClassCounts:
        """Return the images of each class."""
        counts = np.bincount(self.arrays.labels[self.rows], minlength=len(self.class_names))
        return ClassCounts(tuple(counts.tolist()), "image")

    def fingerprint(self) -> str:
        """Return the hash of the files and of which of their images are taken."""
        return hashlib.sha256(self.arrays.digest.encode() + self.rows.tobytes()).hexdigest()


@dataclass(eq=False)
class ArraysModule(Preprocessed, Chosen, DataModule):
    """Base of the DataModules of sets that are read as a whole: a subclass gives ``read`` and ``names``.

    Args:
        root: the dataset's folder.
        batch_size: the global batch.
        num_workers: loader processes of each rank.
        seed: of the order, the augmentation and what is held out.
        val_share: share of the training set to hold out for validation, balanced by class; None: the test set
            validates.
        image_size: the side to which images are resized; None: as they are stored.
        unlabelled: views of each of the other images, which are read beside the labelled ones; 0: none.
        augmentation: other numbers for ``MovesOptions``, by name.
    """

    task = "classification"
    sample_name = "image"

    root: Word
    _: KW_ONLY
    batch_size: Positive = 128
    num_workers: Count = 0
    seed: Seed = 0
    val_share: Share | None = 0.1
    image_size: Pixels | None = None
    unlabelled: Count = 0
    augmentation: Annotated[Mapping[str, Any] | None, Options(MovesOptions)] = None

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        check_shares(self.val_share, None)
        self.moves = MovesOptions.from_options(self.augmentation)
        self._sets: dict[str, Arrays] = {}

    @abstractmethod
    def read(self, split: str) -> Arrays:
        """Return the images of ``"train"`` or ``"test"``.

        Raises:
            DataError: a file is missing or cannot be used.
        """

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Return the name of each label."""

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return Path(self.root)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of samples."""
        stored = self.arrays("train").images.shape
        return (stored[2], stored[3]) if self.image_size is None else (self.image_size, self.image_size)

    @property
    def spec(self) -> ClassificationSpec:
        """The classes, how many images of each there are to train on, and their size."""
        counts = self.dataset("train").class_counts().counts
        return ClassificationSpec(
            class_names=self.names(),
            input_shape=(3, *self.size),
            class_counts=counts,
            interpolation=self.interpolation,
            mean=tuple(self.mean),
            std=tuple(self.std),
        )

    def arrays(self, split: str) -> Arrays:
        """Return a set, read once and checked.

        Raises:
            DataError: it is empty, a label is of no class, or there is one class only.
        """
        if split not in self._sets:
            self._sets[split] = self.read(split)
            if problem := self._problem(split):
                raise DataError(f"{self._sets.pop(split).source}: {problem}")
        return self._sets[split]

    def _problem(self, split: str) -> str:
        """Return why a set cannot be used, or ``""``."""
        labels = self._sets[split].labels
        if not len(labels):
            return "there is no image in it"
        names = self.names()
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        if len(wrong):
            first = int(wrong[0])
            return (
                f"{len(wrong)} labels are of no class, the first of image {first}: {int(labels[first])}, and classes "
                f"go from 0 to {len(names) - 1}"
            )
        return one_class(np.bincount(labels, minlength=len(names)).tolist(), names) if split == TRAIN else ""

    def build(self, split: str) -> ArrayDataset | PartlyLabelled:
        """Return the dataset of a split.

        Raises:
            ConfigError: unlabelled images are wanted, and an augmentation that they do not have.
            DataError: a set cannot be used, images of another size than in training are tested on, or unlabelled
                images are wanted and there are none.
        """
        whole = TRAIN if split == TRAIN or (split == VAL and self.val_share is not None) else "test"
        arrays = self.arrays(whole)
        rows = np.arange(len(arrays.labels))
        if whole == TRAIN and self.val_share is not None:
            rows = self._held_out(arrays)[split]
        elif split == VAL:
            tell_once(
                f"{arrays.source}: data.val_share=null: the test set validates too, and best.ckpt is chosen by it"
            )
        if split == TRAIN and self.imbalance is not None:
            keys = [str(row) for row in rows.tolist()]
            rows = rows[long_tail(arrays.labels[rows], self.names(), keys, self.imbalance, self.seed, arrays.source)]
        whole_rows = rows
        if split == TRAIN and self.num_labels is not None:
            rows = self._labelled(arrays, rows, self.num_labels)
        moves = self.moves if split == TRAIN else None
        if moves is not None:
            check_reflection(moves.shift, moves.padding_mode, self.size)
        labelled = ArrayDataset(arrays, rows, self.names(), self._transform(), moves, self.seed)
        if split != TRAIN or not self.unlabelled:
            return labelled
        others = np.setdiff1d(whole_rows, rows)
        rest = ArrayDataset(arrays, others, self.names(), self._transform(), moves, self.seed)
        return partly_labelled(labelled, rest, self.unlabelled, self.moves, self.size, self.seed, arrays.source)

    def sample_weights(self) -> list[float] | None:
        """Return the chance of each image, if classes are drawn equally often.

        Raises:
            ConfigError: an epoch goes through unlabelled images, whose classes are not known.
        """
        return learnt_weights(self.dataset(TRAIN)) if self.class_balanced else None

    def _held_out(self, arrays: Arrays) -> dict[str, npt.NDArray[np.int64]]:
        share = self.val_share or 0.0
        numbers = [str(number) for number in range(len(arrays.labels))]
        if len(numbers) < 2:
            raise DataError(f"{arrays.source}: one image is too few to hold a share out")
        classes = [(label,) for label in arrays.labels.tolist()]
        parts = np.array(hold_out(numbers, classes, {TRAIN: 1 - share, VAL: share}, self.seed))
        return {part: np.flatnonzero(parts == part) for part in (TRAIN, VAL)}

    def _labelled(self, arrays: Arrays, rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        """Return ``count`` of the rows, balanced by class."""
        keys = [str(row) for row in rows.tolist()]
        return rows[few_labels(arrays.labels[rows], self.names(), keys, count, self.label_seed, arrays.source)]

    def collate(self, samples: Sequence[Any]) -> ClassificationBatch:
        """Put samples together into a batch."""
        return collate_classification(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the samples."""
        return ClassificationFolder(paths, self._transform())

    def _transform(self) -> EvalTransform:
        return EvalTransform(self.size, interpolation=self.interpolation)
