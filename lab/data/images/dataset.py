"""The dataset of annotated image files: turns rows of a table into samples of one kind of problem.

Images are decoded one at a time from their files. A sample is a function of (seed, epoch, index), never of the worker
or rank that makes it.
"""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from lab.data.images.annotations import BadSamplePolicy
from lab.data.images.opening import ImageFileError, ImageSource, read_image
from lab.data.images.pixels import read_pixels
from lab.data.images.problems import find_problems, report_problems
from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

log = logging.getLogger(__name__)

SampleT = TypeVar("SampleT")
TransformT = TypeVar("TransformT")


@dataclass(frozen=True)
class Reading(Generic[TransformT]):
    """How annotated images are read; the common options of all image datasets.

    Attributes:
        train: whether to augment and leave ``truth`` out; in evaluation ``truth`` is filled.
        transform: transforms image and annotation; None keeps them as stored.
        on_bad_sample: ``"skip"`` leaves out what cannot be used and reports it; ``"error"`` raises.
        seed: decides, with epoch and index, every random choice.
        cache_images: keep decoded images (in evaluation whole samples) in the memory of each worker. For small datasets
            only: this takes 3 bytes per pixel.
    """

    train: bool = True
    transform: TransformT | None = None
    on_bad_sample: BadSamplePolicy = "skip"
    seed: int = 0
    cache_images: bool = False


READING: Reading[Any] = Reading()
"""Options for training, without a transform."""


class ImageDataset(ABC, Generic[SampleT, TransformT]):
    """Annotated images on disk, read by the key ``(epoch, index)``; a subclass implements ``_sample``.

    Some damage is found only when pixels are decoded. Under ``on_bad_sample="skip"`` training then uses the next image
    that can be read instead. Evaluation must not count an image twice: it uses a black image, whose objects count as
    missed. Both are logged for each file.

    Args:
        table: rows with ``image_id``, ``file_name``, ``height``, ``width``, ``unreadable`` and the annotation.
        folder: where the images are.
        class_names: the name of each label.
        reading: how they are read.
        source: the annotation file or split, for messages.

    Attributes:
        evaluated_as: what becomes of an image in evaluation whose pixels cannot be decoded, for messages.
        evaluates_with_pillow: whether images of an evaluation are PIL's, which PIL resizes: slower than tensors.
        class_names: the name of each label.
        bad_reads: names of the files that this process failed to decode.

    Raises:
        DataError: see ``report_problems``.
    """

    evaluated_as: str = "evaluated as black: its objects are missed"
    evaluates_with_pillow = False

    def __init__(
        self,
        table: Dataset,
        folder: Path,
        class_names: tuple[str, ...],
        reading: Reading[TransformT],
        source: str,
    ) -> None:
        self._table = table
        self._rows = report_problems(table, reading.on_bad_sample, source, folder, reading.train)
        self._folder = folder
        self._source = source
        self.class_names = class_names
        self.reading = reading
        self.bad_reads: list[str] = []
        self._images: dict[int, Image | Tensor] = {}
        self._samples: dict[int, SampleT] = {}

    @property
    @abstractmethod
    def fixed_size(self) -> bool:
        """Whether all samples have the same size, whatever the sizes of the stored images."""

    @abstractmethod
    def _sample(self, row: dict[str, Any], image: Image | Tensor, generator: torch.Generator) -> SampleT | None:
        """Return the sample of a row and its decoded image; None (training only) where the annotation is damaged."""

    def __len__(self) -> int:
        """Return the number of usable images."""
        return len(self._rows)

    def __getitem__(self, key: tuple[int, int]) -> SampleT:
        """Return the sample for ``(epoch, index)``.

        Raises:
            DataError: a file cannot be decoded under ``on_bad_sample="error"``, or no image can be decoded at all.
        """
        index = key[1]
        if index in self._samples:
            return self._samples[index]
        for row, image in self._readable(index):
            sample = self._sample_at(key, row, image)
            if sample is not None:
                if self.reading.cache_images and not self.reading.train:
                    self._samples[index] = sample
                return sample
        raise self._nothing_readable()

    def _sample_at(self, key: tuple[int, int], row: dict[str, Any], image: Image | Tensor) -> SampleT | None:
        """Return the sample for a key, as ``_sample``, from the row and image that are read for it."""
        return self._sample(row, image, sample_generator(self.reading.seed, *key))

    def _readable(self, index: int) -> Iterator[tuple[dict[str, Any], Image | Tensor]]:
        """Yield the row at ``index`` with its image, then those after it, around the end, but no unreadable ones."""
        for position in range(index, index + len(self)):
            row = self._table[self._rows[position % len(self)]]
            image = self._image(row)
            if image is not None:
                yield row, image

    def _nothing_readable(self) -> DataError:
        return DataError(f"{self._source}: none of the {len(self)} images in {self._folder} can be decoded")

    @property
    def aspect_ratios(self) -> list[float] | None:
        """Width / height of each stored image; None where all are equal or the transform makes them so."""
        if self.fixed_size:
            return None
        columns = self._table.select_columns(["height", "width"]).with_format("numpy")[:]
        ratios = (columns["width"] / columns["height"].clip(min=1))[self._rows].tolist()
        return None if len(set(ratios)) <= 1 else ratios

    @property
    def image_ids(self) -> list[int]:
        """The dataset's own id of each usable image."""
        columns = self._table.select_columns(["image_id"])[:]
        return [columns["image_id"][row] for row in self._rows]

    def class_counts(self) -> ClassCounts | None:
        """Return the number of objects of each class in the usable images, without crowds; None if rows lack it."""
        if not {"labels", "iscrowd"} <= set(self._table.column_names):
            return None
        columns = self._table.select_columns(["labels", "iscrowd"])[:]
        counts = [0] * len(self.class_names)
        for row in self._rows:
            for label, crowd in zip(columns["labels"][row], columns["iscrowd"][row], strict=True):
                counts[label] += not crowd
        return ClassCounts(tuple(counts), "object")

    def unaugmented(self, transform: TransformT | None) -> Self:
        """Return the same images, read without augmentation and with their truth, to look at them.

        An image that cannot be decoded is black and stands in the copy's own ``bad_reads``.

        Args:
            transform: of evaluation; None: images as they are stored.
        """
        found = copy.copy(self)
        found.reading = Reading(False, transform, "skip", self.reading.seed)
        found.evaluated_as = "counted as damaged"
        found.bad_reads, found._images, found._samples = [], {}, {}
        return found

    def problems(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return what is wrong in the table, and what is suspicious: names of images or annotations, by what it is."""
        return find_problems(self._table)

    def image_name(self, index: int) -> str:
        """Return the name of the file of the image at ``index``, as the table has it."""
        return str(self._table[self._rows[index]]["file_name"])

    def image_path(self, index: int) -> Path:
        """Return the file of the image at ``index``."""
        return self._folder / self._table[self._rows[index]]["file_name"]

    def _image(self, row: dict[str, Any]) -> Image | Tensor | None:
        """Return a decoded image, from memory if it is kept; None if it cannot be decoded (training only)."""
        if row["image_id"] in self._images:
            return self._images[row["image_id"]]
        image = self._decode(row)
        if self.reading.cache_images and self.reading.train and image is not None:
            self._images[row["image_id"]] = image
        return image

    def _source_of(self, row: dict[str, Any]) -> ImageSource:
        """Return the file of an image, or its content. It raises what ``read_image`` raises."""
        source: Path = self._folder / row["file_name"]
        return source

    def _decode(self, row: dict[str, Any]) -> Image | Tensor | None:
        size = (row["height"], row["width"])
        read = read_image if self.evaluates_with_pillow and not self.reading.train else read_pixels
        try:
            return read(self._source_of(row), size)
        except ImageFileError as error:
            self._bad_read(self._folder / row["file_name"], error, self.evaluated_as)
            return None if self.reading.train else torch.zeros(3, *size, dtype=torch.uint8)

    def _bad_read(self, path: Path, error: Exception, in_evaluation: str) -> None:
        """Raise, or log once per file, that its pixels cannot be decoded."""
        if self.reading.on_bad_sample == "error":
            raise DataError(
                f"{path} cannot be decoded ({error}); replace the file, or set data.on_bad_sample=skip"
            ) from error
        name = path.relative_to(self._folder).as_posix() if path.is_relative_to(self._folder) else str(path)
        if name not in self.bad_reads:
            self.bad_reads.append(name)
            what = "the next image replaces it" if self.reading.train else in_evaluation
            log.warning("%s cannot be decoded (%s); %s (%d so far)", path, error, what, len(self.bad_reads))
