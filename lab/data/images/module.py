"""The base classes of DataModules of annotated image files, for all kinds of annotation.

They are dataclasses: each argument is declared once, with type, range and default, in the class that uses it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from lab.data.datamodule import DataModule
from lab.data.images.annotations import BadSamplePolicy
from lab.data.images.coco_labels import split_files
from lab.data.images.dataset import ImageDataset, Reading
from lab.data.parts import Part, split_of_one
from lab.errors import ConfigError, DataError, closest
from lab.ranges import Count, Positive, Seed, Share, Word
from lab.structures import KeyedDataset


class NamedNumbers:
    """Base of the dataclasses whose fields are the keys of ``data.augmentation``."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any] | None) -> Self:
        """Return the augmentation from a config's ``data.augmentation``.

        Raises:
            ConfigError: a key is unknown.
        """
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        for key in options or {}:
            if key not in known:
                raise ConfigError(
                    f"data.augmentation.{key}: unknown key{closest(key, known) or '; ' + ', '.join(known)}"
                )
        return cls(**(options or {}))


@dataclass(eq=False)
class ImagesModule(DataModule):
    """Base of the DataModules of images that are decoded one by one: a subclass implements ``build``, ``transform``.

    Args:
        batch_size: the global batch size.
        num_workers: loader processes per rank.
        seed: decides the order of the samples and the augmentation.
        on_bad_sample: ``"skip"`` leaves out what cannot be used and reports it; ``"error"`` stops.
        cache_images: keep decoded images in memory, in each worker (small datasets only).
    """

    sample_name = "image"

    _: KW_ONLY
    batch_size: Positive = 16
    num_workers: Count = 2
    seed: Seed = 0
    on_bad_sample: BadSamplePolicy = "skip"
    cache_images: bool = False

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)

    @abstractmethod
    def transform(self, train: bool) -> Any:
        """Return the transform of training or evaluation."""

    def reading(self, split: str) -> Reading[Any]:
        """Return how the images of a split are read."""
        train = split == "train"
        return Reading(train, self.transform(train), self.on_bad_sample, self.seed, self.cache_images)

    def unaugmented(self, split: str, prepared: bool) -> Any:
        """Return the images of a split as an evaluation reads them, or as they are stored."""
        dataset = self.dataset(split)
        if not isinstance(dataset, ImageDataset):
            return dataset
        return dataset.unaugmented(self.transform(train=False) if prepared else None)


@dataclass(eq=False)
class ImageFilesModule(ImagesModule):
    """Base of the DataModules of annotated image files below one folder.

    Args:
        root: the dataset's folder.
    """

    root: Word

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return Path(self.root)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, H, W); 0 where the size varies from image to image."""
        size = self.transform(train=False).size
        return (3, 0, 0) if size is None else (3, *size)

    @property
    def resize(self) -> tuple[int, int]:
        """(shorter side, limit of the longer side) in evaluation, 0 for no limit; (0, 0): no resizing."""
        transform = self.transform(train=False)
        return (transform.scales[-1] if transform.scales else 0), transform.max_size or 0


@dataclass(eq=False)
class SplitFilesModule(ImageFilesModule):
    """Base of the DataModules whose splits are separate files: a subclass implements ``read``.

    Args:
        train: the files of the training set by name (``needed``, optionally ``allowed``), relative to ``root``.
        val: the files of the validation set.
        test: the files of the test set; None uses the validation set.
        val_share: share of the training set to hold out for validation instead of ``val``; None uses ``val``.
        test_share: the same for the test, if ``test`` has no files; None uses the validation set.
    """

    train: Mapping[str, str]
    val: Mapping[str, str]
    test: Mapping[str, str] | None = None
    _: KW_ONLY
    val_share: Share | None = None
    test_share: Share | None = None

    needed: ClassVar[tuple[str, ...]]
    allowed: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        files = split_files(self.train, self.val, self.test, self.needed, self.allowed)
        self.files, self.parts = split_of_one(files, self.val_share, self.test_share, self.seed)

    @abstractmethod
    def read(self, files: Mapping[str, str], reading: Reading[Any], part: Part | None) -> KeyedDataset:
        """Return the dataset of the files of a split, or of a part of them."""

    def build(self, split: str) -> KeyedDataset:
        """Return the dataset of a split.

        Raises:
            DataError: something is missing, or validation and training do not agree on the classes.
        """
        dataset = self.read(self.files[split], self.reading(split), self.parts.get(split))
        if split != "train":
            self.check_classes(dataset, self.files[split])
        return dataset

    def check_classes(self, dataset: Any, files: Mapping[str, str]) -> None:
        """Refuse a split whose labels mean other classes than in training.

        Raises:
            DataError: the classes differ.
        """
        train = self.dataset("train")
        if (train.class_names, train.thing_labels) != (dataset.class_names, dataset.thing_labels):
            raise DataError(f"{files['annotations']}: other 'categories' than in training; give both the same")
