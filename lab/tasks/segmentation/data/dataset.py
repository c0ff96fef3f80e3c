"""The base of the segmentation datasets on disk: turns images and label maps into ``SegmentationSample``."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor

from lab.data.images.dataset import ImageDataset, Reading
from lab.data.images.pixels import as_pixels
from lab.data.presence import MOST_PIXELS, ClassCounts, spread
from lab.errors import DataError
from lab.structures import NO_SEGMENT, SegmentationSample
from lab.tasks.segmentation.data.segments import SegmentKind, check_kind, drop_empty, merge_classes, truth_of
from lab.tasks.segmentation.data.transforms import SegmentationTransform, TransformedImage

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

log = logging.getLogger(__name__)

MAP_COLUMNS = {
    "image_id": "int64",
    "file_name": "string",
    "label_name": "string",
    "height": "int32",
    "width": "int32",
    "unreadable": "string",
}
"""The columns of every ``SegmentationDataset``; ``unreadable`` says why an image cannot be used, or ``""``."""


class Annotation(NamedTuple):
    """The segments of one stored image.

    Attributes:
        segments: (h, w) int16.
        labels: (n,) int64.
        iscrowd: (n,) bool.
        codes: see ``SegmentationTruth``.
        area: see ``SegmentationTruth``.
    """

    segments: Tensor
    labels: Tensor
    iscrowd: Tensor
    codes: tuple[bytes, ...] | None = None
    area: Tensor | None = None


class SegmentationDataset(ImageDataset[SegmentationSample, SegmentationTransform]):
    """Images with label maps; a subclass implements ``_read``.

    A label map that cannot be decoded is treated like a bad image in ``ImageDataset``, except that an evaluation under
    ``on_bad_sample="skip"`` keeps the image, without labelled pixels. Unknown ids raise under ``"error"``; under
    ``"skip"`` their pixels belong to no segment. Both are logged for each file. Crowds are in ``truth`` only.

    Args:
        table: rows with ``label_name``, and ``image_id``, ``file_name``, ``height``, ``width``, ``unreadable``.
        folder: where the images are.
        labels: where the label maps are.
        class_names: the name of each label.
        reading: how images and maps are read.
        segments: ``"semantic"``: targets have one segment per class; ``"panoptic"``: the stored segments.
        source: the split, for messages.

    Attributes:
        foreign: label maps with ids of no class, which this process has read.

    Raises:
        DataError: see ``report_problems``.
    """

    thing_labels: tuple[int, ...] = ()

    def __init__(
        self,
        table: Dataset,
        folder: Path,
        labels: Path,
        class_names: tuple[str, ...],
        reading: Reading[SegmentationTransform],
        segments: SegmentKind,
        source: str,
    ) -> None:
        super().__init__(table, folder, class_names, reading, source)
        self._labels = labels
        self.segments = check_kind(segments)
        self._annotations: dict[int, Annotation] = {}
        self.foreign: list[str] = []

    def unaugmented(self, transform: SegmentationTransform | None) -> Self:
        """Return the same images, read without augmentation; see ``ImageDataset.unaugmented``."""
        found = super().unaugmented(transform)
        found.foreign = []
        return found

    @property
    def fixed_size(self) -> bool:
        """Whether the transform makes images of one size."""
        return self.reading.transform is not None and self.reading.transform.size is not None

    def class_counts(self) -> ClassCounts | None:
        """Return the number of objects of each class, or for maps of classes the number of maps with the class.

        Maps spread over the whole split are read until each class has been seen or ``MOST_PIXELS`` are read.
        """
        counts = super().class_counts()
        if counts is not None:
            return counts
        found, pixels, read = [0] * len(self.class_names), 0, 0
        for place in spread(len(self)):
            row = self._table[self._rows[place]]
            if all(found) or (read and pixels + row["height"] * row["width"] > MOST_PIXELS):
                break
            pixels, read = pixels + row["height"] * row["width"], read + 1
            try:
                stored, _ = self._read(self._labels / row["label_name"], row)
            except (OSError, ValueError, SyntaxError, EOFError):
                continue  # reported when it is read as a sample
            for label in stored.labels.unique().tolist():
                found[label] += 1
        return ClassCounts(tuple(found), "pixel", read, len(self))

    @abstractmethod
    def _read(self, path: Path, row: dict[str, Any]) -> tuple[Annotation, Mapping[int, int]]:
        """Return the annotation in the label map of a row, and the number of pixels of each unknown id."""

    def _sample(
        self, row: dict[str, Any], image: Image | Tensor, generator: torch.Generator
    ) -> SegmentationSample | None:
        stored = self._annotation(row)
        if stored is None:
            return None
        segments, labels = stored.segments, stored.labels
        if stored.iscrowd.any():
            segments, labels = drop_empty(segments, labels, ~stored.iscrowd)
        if self.segments == "semantic":
            segments, labels = merge_classes(segments, labels)
        if self.reading.transform is None:
            pixels = as_pixels(image).contiguous()
            done = TransformedImage(pixels, *drop_empty(segments, labels))
        else:
            done = self.reading.transform(image, segments, labels, generator)
        truth = None if self.reading.train else truth_of(*stored)
        return SegmentationSample(*done, row["image_id"], (row["height"], row["width"]), truth)

    def _annotation(self, row: dict[str, Any]) -> Annotation | None:
        """Return the segments of a row, read once if images are cached; None if training must skip the image."""
        if row["image_id"] in self._annotations:
            return self._annotations[row["image_id"]]
        path = self._labels / row["label_name"]
        try:
            stored, unknown = self._read(path, row)
        except DataError:  # a ValueError too, and already says what is wrong
            raise
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            self._bad_read(path, error, "none of the image's pixels is measured")
            if self.reading.train:
                return None
            empty = torch.full((row["height"], row["width"]), NO_SEGMENT, dtype=torch.int16)
            return Annotation(empty, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
        if unknown:
            self._tell_unknown(path, unknown)
        if self.reading.cache_images and self.reading.train:
            self._annotations[row["image_id"]] = stored
        return stored

    def _tell_unknown(self, path: Path, unknown: Mapping[int, int]) -> None:
        """Raise, or log once per file, which ids belong to no class."""
        found = ", ".join(f"{number} ({count} pixels)" for number, count in sorted(unknown.items())[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        message = f"{path}: ids that are neither a class nor ignored: {found}{more}"
        if self.reading.on_bad_sample == "error":
            raise DataError(
                f"{message}; list them in data.ignore_ids, mend data.label_ids or the file, or set "
                "data.on_bad_sample=skip to leave such pixels out"
            )
        if str(path) not in self.foreign:
            self.foreign.append(str(path))
            log.warning("%s; their pixels are %s", message, "not trained on" if self.reading.train else "not measured")
