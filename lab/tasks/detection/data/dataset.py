"""The base of the datasets of COCO and Pascal VOC: turns rows of annotations into ``DetectionSample``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lab.data.images import draws
from lab.data.images.dataset import ImageDataset
from lab.data.images.pixels import as_pixels
from lab.data.images.resizing import sample_generator
from lab.structures import DetectionSample, DetectionTruth
from lab.tasks.detection.data.mosaic import BoxedImage, MosaicPlan, Others
from lab.tasks.detection.data.transforms import DetectionTransform, Transformed

if TYPE_CHECKING:
    from PIL.Image import Image


class DetectionDataset(ImageDataset[DetectionSample, DetectionTransform]):
    """Images with boxes, from rows that ``lab.data.images.annotations.make_row`` makes; see ``ImageDataset``.

    Attributes:
        mosaics: which samples may be mosaics, where the transform makes them.
    """

    mosaics = MosaicPlan()

    @functools.cached_property
    def _boxed(self) -> dict[int, BoxedImage]:
        """The parts of mosaics so far by index, where images are kept."""
        return {}

    @property
    def fixed_size(self) -> bool:
        """Whether the transform resizes all images to one size."""
        return self.reading.transform is not None and self.reading.transform.size is not None

    def box_sizes(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return (N, 2) width and height of the boxes to train on, and (N, 2) of their images, both in pixels."""
        columns = self._table.select_columns(["height", "width", "boxes", "labels", "iscrowd"])[:]
        boxes, images = [np.zeros((0, 2))], [np.zeros((0, 2))]
        for row in self._rows:
            side, height = columns["width"][row], columns["height"][row]
            found = torch.tensor(columns["boxes"][row], dtype=torch.float32).reshape(-1, 4)
            count = len(found)
            crowd = torch.tensor(columns["iscrowd"][row], dtype=torch.bool)
            labels = torch.tensor(columns["labels"][row], dtype=torch.int64)
            kept, _ = _training_boxes(DetectionTruth(found, labels, crowd, found[:, 0], (count,)), height, side)
            boxes.append((kept[:, 2:] - kept[:, :2]).double().numpy())
            images.append(np.full((len(kept), 2), (side, height), dtype=np.float64))
        return np.concatenate(boxes), np.concatenate(images)

    def box_counts(self) -> list[int]:
        """Return the number of boxes of each usable image, without crowds."""
        crowds = self._table.select_columns(["iscrowd"])[:]["iscrowd"]
        return [len(crowds[row]) - sum(map(bool, crowds[row])) for row in self._rows]

    def _sample_at(self, key: tuple[int, int], row: dict[str, Any], image: Image | Tensor) -> DetectionSample:
        generator = sample_generator(self.reading.seed, *key)
        return self._sample(row, image, generator, self._other if self.mosaics.allows(*key) else None)

    def _other(self, generator: torch.Generator) -> BoxedImage:
        """Return another image of the training set and its boxes, for a mosaic."""
        index = draws.integer(0, (self.mosaics.length or len(self)) - 1, generator)
        if index in self._boxed:
            return self._boxed[index]
        for row, image in self._readable(index):
            if isinstance(image, Tensor):
                found = BoxedImage(image, *_training_boxes(_truth_of(row), row["height"], row["width"]))
                if self.reading.cache_images:
                    self._boxed[index] = found
                return found
        raise self._nothing_readable()

    def _sample(
        self, row: dict[str, Any], image: Image | Tensor, generator: torch.Generator, others: Others | None = None
    ) -> DetectionSample:
        truth = _truth_of(row)
        size = (row["height"], row["width"])
        boxes, labels = _training_boxes(truth, *size)
        if self.reading.transform is None:
            done = Transformed(as_pixels(image).contiguous(), boxes, labels, None)
        else:
            done = self.reading.transform(image, boxes, labels, generator, others=others)
        return DetectionSample(
            image=done.image,
            boxes=done.boxes,
            labels=done.labels,
            image_id=row["image_id"],
            original_size=size,
            truth=None if self.reading.train else truth,
        )


def _truth_of(row: dict[str, Any]) -> DetectionTruth:
    return DetectionTruth(
        boxes=torch.tensor(row["boxes"], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(row["labels"], dtype=torch.int64),
        iscrowd=torch.tensor(row["iscrowd"], dtype=torch.bool),
        area=torch.tensor(row["area"], dtype=torch.float32),
        counts=(len(row["labels"]),),
    )


def _training_boxes(truth: DetectionTruth, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return boxes and labels without crowds, clipped to the image; boxes without area are then dropped."""
    boxes = torch.minimum(truth.boxes.clamp(min=0), truth.boxes.new_tensor([width, height, width, height]))
    keep = ~truth.iscrowd & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return boxes[keep], truth.labels[keep]
