"""Labelled images that are decoded one by one, wherever they lie: the dataset, and the base of its DataModules."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.data.images.dataset import ImageDataset, Reading
from lab.data.images.module import ImagesModule
from lab.data.images.opening import ImageSource
from lab.data.images.pixels import as_pixels
from lab.data.images.store import ImageStore
from lab.data.parts import Part
from lab.data.presence import ClassCounts
from lab.errors import ConfigError
from lab.ranges import Count, Ge, Gt, Le, Len, Options, Pixels, Positive, Probability
from lab.structures import KeyedDataset
from lab.structures.classification import ClassificationBatch, ClassificationSample, ClassificationSpec
from lab.tasks.classification.data.augmentation import AugmentationOptions, MovesOptions, moves_of
from lab.tasks.classification.data.chosen import Chosen, check_classes_present, few_labels, long_tail
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.files import ClassificationFolder
from lab.tasks.classification.data.moves import draw_moves
from lab.tasks.classification.data.preprocessing import Preprocessed
from lab.tasks.classification.data.transforms import EvalTransform, TrainTransform
from lab.tasks.classification.data.unlabelled import PartlyLabelled, check_reflection, learnt_weights, partly_labelled

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

COLUMNS = {
    "image_id": "int64",
    "file_name": "string",
    "height": "int32",
    "width": "int32",
    "labels": "[int64]",
    "unreadable": "string",
}


@dataclass(frozen=True)
class WindowOptions(AugmentationOptions):
    """The numbers of ``TrainTransform``, and the chance of a flip.

    Attributes:
        area: smallest and largest share of the image that a window takes.
        ratio: smallest and largest width / height of a window.
        flip: chance to mirror an image.
        shift: the most pixels to each side; None: 0, and beside unlabelled images, which are not cut to windows, an
            eighth of the side.
        padding_mode: what a shift lets in: ``"constant"``: black; ``"reflect"``: the image, reflected at its edge.
    """

    area: Annotated[Sequence[Annotated[float, Gt(0), Le(1)]], Len(2, 2)] = (0.08, 1.0)
    ratio: Annotated[Sequence[Annotated[float, Gt(0), Le(100)]], Len(2, 2)] = (3 / 4, 4 / 3)
    flip: Probability = 0.5
    shift: Annotated[int, Ge(0), Le(1024)] | None = None
    padding_mode: Literal["constant", "reflect"] = "constant"

    def moves(self, side: int) -> MovesOptions:
        """Return how images of a side are moved, beside unlabelled ones.

        Raises:
            ConfigError: other windows are asked for, which these images do not have.
        """
        if (tuple(self.area), tuple(self.ratio)) != (tuple(WindowOptions.area), tuple(WindowOptions.ratio)):
            raise ConfigError(
                "data.augmentation: a model that learns from unlabelled images too flips and shifts whole images, by "
                "data.augmentation.shift pixels; leave area and ratio, which are of windows, as they are"
            )
        shift = side // 8 if self.shift is None else self.shift
        return moves_of(self, self.flip, shift, self.padding_mode)


@dataclass(frozen=True)
class LabelledTable:
    """Labelled images before they are decoded.

    Attributes:
        rows: with ``COLUMNS``.
        store: where the images lie.
        class_names: the name of each label.
        fingerprint: of names, contents and classes.
    """

    rows: Dataset
    store: ImageStore
    class_names: tuple[str, ...]
    fingerprint: str

    def part(self, part: Part | None) -> LabelledTable:
        """Return a part of the images, or all of them for None."""
        if part is None:
            return self
        rows, fingerprint = part.of(self.rows, self.fingerprint, str(self.store.place))
        return LabelledTable(rows, self.store, self.class_names, fingerprint)


class LabelledImages(ImageDataset[ClassificationSample, Any]):
    """Images with one class each.

    Args:
        table: the images.
        reading: how they are read.
        augmentation: what is drawn for an image in training.

    Raises:
        DataError: none can be read; see ``report_problems``.
    """

    fixed_size = True
    evaluated_as = "evaluated as a black image"
    evaluates_with_pillow = True  # as torchvision's presets do, to the pixel

    def __init__(self, table: LabelledTable, reading: Reading[Any], augmentation: WindowOptions | None = None) -> None:
        self._store, self._fingerprint, self.augmentation = table.store, table.fingerprint, augmentation
        place = table.store.place
        super().__init__(table.rows, place, table.class_names, reading, str(place))

    def fingerprint(self) -> str:
        """Return the hash of the names and contents of the images, and of which of them are taken."""
        return self._fingerprint

    def class_counts(self) -> ClassCounts:
        """Return the usable images of each class."""
        counts = Counter(self.labels())
        return ClassCounts(tuple(counts[label] for label in range(len(self.class_names))), "image")

    def label_array(self) -> npt.NDArray[np.int64]:
        """Return the label of each usable image (n,)."""
        return np.array(self.labels(), dtype=np.int64)

    def labels(self) -> list[int]:
        """Return the label of each usable image."""
        labels = self._table.select_columns(["labels"])[:]["labels"]
        return [labels[row][0] for row in self._rows]

    def thin(self, imbalance: float | None, num_labels: int | None, seed: int, label_seed: int) -> None:
        """Keep a long tail of the images, and a few of those for each class; None keeps all.

        Raises:
            DataError: ``num_labels`` is out of range.
        """
        if imbalance is not None:
            kept = long_tail(*self._of_rows(), imbalance, seed, self._source)
            self._keep(kept, f"long_tail\0{imbalance}\0{seed}")
        if num_labels is not None:
            kept = few_labels(*self._of_rows(), num_labels, label_seed, self._source)
            self._keep(kept, f"few_labels\0{num_labels}\0{label_seed}")

    def without(self, others: LabelledImages) -> LabelledImages:
        """Return the images that are not among others of the same table."""
        rest = copy.copy(self)
        taken = set(others._rows)
        places = [place for place, row in enumerate(self._rows) if row not in taken]
        rest._keep(np.array(places, dtype=np.int64), f"without\0{others._fingerprint}")
        return rest

    def still(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return images (n, 3, H, W) uint8, not moved, their labels (n,), ids (n,) and stored sizes (n, 2)."""
        batch = collate_classification([self[0, index] for index in indices.tolist()])
        return batch.images, batch.targets.labels, batch.image_ids, batch.original_sizes

    def _of_rows(self) -> tuple[npt.NDArray[np.int64], tuple[str, ...], list[str]]:
        """Return the labels of the usable images, the classes' names, and the images' names."""
        names = self._table.select_columns(["file_name"])[:]["file_name"]
        return self.label_array(), self.class_names, [names[row] for row in self._rows]

    def _keep(self, places: npt.NDArray[np.int64], key: str) -> None:
        self._rows = [self._rows[place] for place in places.tolist()]
        self._fingerprint = hashlib.sha256(f"{self._fingerprint}\0{key}".encode()).hexdigest()

    def _source_of(self, row: dict[str, Any]) -> ImageSource:
        return self._store.source(row["file_name"])

    def _sample(self, row: dict[str, Any], image: Image | Tensor, generator: torch.Generator) -> ClassificationSample:
        options = self.augmentation if self.reading.train else None
        moves = None
        if options is not None:
            moves = draw_moves(options.flip, options.shift or 0, generator, options.padding_mode == "reflect")
        transform = self.reading.transform
        pixels = as_pixels(image).contiguous() if transform is None else transform(image, generator)
        drawn = None if options is None else options.draw(pixels.shape[1:], generator)
        size = (row["height"], row["width"])
        return ClassificationSample(pixels, row["labels"][0], row["image_id"], size, moves, drawn)


@dataclass(eq=False)
class LabelledModule(Preprocessed, Chosen, ImagesModule):
    """Base of the DataModules of images with one class each: a subclass implements ``table``.

    Args:
        image_size: the side of the square samples.
        crop_share: share of the shorter side that evaluation takes the middle of: 0.875 is 224 of 256.
        unlabelled: views of each of the other images, which are read beside the labelled ones; 0: none. All of them are
            then read as in evaluation, and flipped and shifted.
        augmentation: other numbers for ``WindowOptions``, by name.
    """

    task = "classification"

    _: KW_ONLY
    batch_size: Positive = 64
    image_size: Pixels = 224
    crop_share: Annotated[float, Gt(0), Le(1)] = 0.875
    unlabelled: Count = 0
    augmentation: Annotated[Mapping[str, Any] | None, Options(WindowOptions)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.window = WindowOptions.from_options(self.augmentation)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, image_size, image_size)."""
        return (3, self.image_size, self.image_size)

    @property
    def shorter_side(self) -> int:
        """To which evaluation resizes before it takes the middle."""
        return max(self.image_size, int(self.image_size / self.crop_share))

    @property
    def spec(self) -> ClassificationSpec:
        """The classes, how many images of each there are to train on, and how images are resized."""
        train = self.dataset("train")
        return ClassificationSpec(
            class_names=train.class_names,
            input_shape=self.input_shape,
            class_counts=train.class_counts().counts,
            resize=self.shorter_side,
            interpolation=self.interpolation,
            mean=tuple(self.mean),
            std=tuple(self.std),
        )

    def sample_weights(self) -> list[float] | None:
        """Return the chance of each image, if classes are drawn equally often.

        Raises:
            ConfigError: an epoch goes through unlabelled images, whose classes are not known.
        """
        return learnt_weights(self.dataset("train")) if self.class_balanced else None

    def labelled(self, table: LabelledTable, reading: Reading[Any]) -> LabelledImages | PartlyLabelled:
        """Return the dataset of a table; in training as few images of it as ``imbalance`` and ``num_labels`` say.

        Raises:
            ConfigError: unlabelled images are wanted, and an augmentation that they do not have.
            DataError: there are images to train on of one class only, or unlabelled ones are wanted and there are none.
        """
        size = (self.image_size, self.image_size)
        if reading.train and self.unlabelled:
            whole = LabelledImages(table, replace(reading, transform=self._evaluation(size)))
            check_classes_present(whole.class_counts().counts, whole.class_names, str(table.store.place))
            whole.thin(self.imbalance, None, self.seed, self.label_seed)
            few = copy.copy(whole)
            few.thin(None, self.num_labels, self.seed, self.label_seed)
            moves, source = self.window.moves(self.image_size), str(table.store.place)
            return partly_labelled(few, whole.without(few), self.unlabelled, moves, size, self.seed, source)
        dataset = LabelledImages(table, reading, self.window)
        if reading.train:
            check_classes_present(dataset.class_counts().counts, dataset.class_names, str(table.store.place))
            check_reflection(self.window.shift or 0, self.window.padding_mode, size)
            dataset.thin(self.imbalance, self.num_labels, self.seed, self.label_seed)
        return dataset

    def transform(self, train: bool) -> TrainTransform | EvalTransform:
        """Return the transform of training or evaluation."""
        size = (self.image_size, self.image_size)
        if not train:
            return self._evaluation(size)
        return TrainTransform(size, self.window.area, self.window.ratio, self.interpolation)

    def _evaluation(self, size: tuple[int, int]) -> EvalTransform:
        return EvalTransform(size, self.shorter_side, self.interpolation)

    def collate(self, samples: Sequence[Any]) -> ClassificationBatch:
        """Put samples together into a batch."""
        return collate_classification(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files prepared as in evaluation."""
        return ClassificationFolder(paths, self._evaluation((self.image_size, self.image_size)))
