"""The dataset that COCO and Pascal VOC share: rows of annotations in, ``DetectionSample`` out.

Images are decoded one at a time from their files. A sample is a function of (seed, epoch, index), never of the worker
or rank that makes it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab.data.annotations import BadSamplePolicy, report_problems
from lab.data.transforms import DetectionTransform, Transformed, sample_generator
from lab.errors import DataError
from lab.structures import DetectionSample, DetectionTruth

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

log = logging.getLogger(__name__)


class DetectionDataset:
    """Annotated images on disk, read by the key ``(epoch, index)``.

    An image that turns out to be damaged only when its pixels are decoded is, under ``on_bad_sample="skip"``, replaced
    in training by the next one that can be read. In evaluation nothing is replaced, so that no image counts twice: it
    is evaluated as a black image, whose objects count as missed. Both are logged for each file.

    Args:
        table: rows as ``lab.data.annotations.make_row`` makes them.
        folder: where the images are.
        class_names: the name of each label.
        train: augment, and leave ``truth`` out; otherwise fill it.
        transform: None leaves images as they are stored.
        on_bad_sample: ``"skip"`` goes on without what cannot be used and says so; ``"error"`` raises.
        seed: decides, with epoch and index, every random choice.
        cache_images: keep decoded images (in evaluation: whole samples) in memory, in each worker. For small datasets:
            it takes 3 bytes for each pixel.
        source: the annotation file or split, for messages.

    Attributes:
        class_names: the name of each label.
        bad_reads: names of the images that this process failed to decode.

    Raises:
        DataError: see ``report_problems``.
    """

    def __init__(
        self,
        table: Dataset,
        folder: Path,
        class_names: tuple[str, ...],
        train: bool,
        transform: DetectionTransform | None,
        on_bad_sample: BadSamplePolicy,
        seed: int,
        cache_images: bool,
        source: str,
    ) -> None:
        usable = report_problems(table, on_bad_sample, source, folder, train)
        self._table = table
        self._rows = usable
        self._folder = folder
        self._source = source
        self.class_names = class_names
        self.train = train
        self.transform = transform
        self.on_bad_sample = on_bad_sample
        self.seed = seed
        self.cache_images = cache_images
        self.bad_reads: list[str] = []
        self._images: dict[int, Image | Tensor] = {}
        self._samples: dict[int, DetectionSample] = {}

    def __len__(self) -> int:
        """Return the number of usable images."""
        return len(self._rows)

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the sample for ``(epoch, index)``.

        Raises:
            DataError: the image cannot be decoded under ``on_bad_sample="error"``, or no image at all can.
        """
        epoch, index = key
        if index in self._samples:
            return self._samples[index]
        for position in range(index, index + len(self)):
            row = self._table[self._rows[position % len(self)]]
            image = self._image(row)
            if image is not None:
                sample = self._sample(row, image, sample_generator(self.seed, epoch, index))
                if self.cache_images and not self.train:
                    self._samples[index] = sample
                return sample
        raise DataError(f"{self._source}: none of the {len(self)} images in {self._folder} can be decoded")

    @property
    def aspect_ratios(self) -> list[float] | None:
        """Width / height of each stored image; None where all are equal or the transform makes them so."""
        if self.transform is not None and self.transform.size is not None:
            return None
        columns = self._table.select_columns(["height", "width"]).with_format("numpy")[:]
        ratios = (columns["width"] / columns["height"].clip(min=1))[self._rows].tolist()
        return None if len(set(ratios)) <= 1 else ratios

    @property
    def image_ids(self) -> list[int]:
        """The dataset's own id of each usable image."""
        columns = self._table.select_columns(["image_id"])[:]
        return [columns["image_id"][row] for row in self._rows]

    def image_path(self, index: int) -> Path:
        """Return the file of the image at ``index``."""
        return self._folder / self._table[self._rows[index]]["file_name"]

    def _image(self, row: dict[str, Any]) -> Image | Tensor | None:
        """Decode an image: to a tensor in training (faster), by PIL in evaluation (as the reference does)."""
        if row["image_id"] in self._images:
            return self._images[row["image_id"]]
        image = self._decode(row)
        if self.cache_images and self.train and image is not None:
            self._images[row["image_id"]] = image
        return image

    def _decode(self, row: dict[str, Any]) -> Image | Tensor | None:
        from PIL import Image
        from torchvision.transforms.v2.functional import pil_to_tensor

        path = self._folder / row["file_name"]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            if self.on_bad_sample == "error":
                raise DataError(
                    f"{path} cannot be decoded ({error}); replace the file, or set data.on_bad_sample=skip"
                ) from error
            if row["file_name"] not in self.bad_reads:
                self.bad_reads.append(row["file_name"])
                what = "the next image stands in for it" if self.train else "evaluated as black: its objects are missed"
                log.warning("%s cannot be decoded (%s); %s (%d so far)", path, error, what, len(self.bad_reads))
            return None if self.train else Image.new("RGB", (row["width"], row["height"]))
        return pil_to_tensor(image) if self.train else image

    def _sample(self, row: dict[str, Any], image: Image | Tensor, generator: torch.Generator) -> DetectionSample:
        from torchvision.transforms.v2.functional import pil_to_tensor

        truth = DetectionTruth(
            boxes=torch.tensor(row["boxes"], dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(row["labels"], dtype=torch.int64),
            iscrowd=torch.tensor(row["iscrowd"], dtype=torch.bool),
            area=torch.tensor(row["area"], dtype=torch.float32),
            counts=(len(row["labels"]),),
        )
        size = (row["height"], row["width"])
        boxes, labels = _training_boxes(truth, *size)
        if self.transform is None:
            done = Transformed(image if isinstance(image, Tensor) else pil_to_tensor(image), boxes, labels, None)
        else:
            done = self.transform(image, boxes, labels, generator)
        return DetectionSample(
            image=done.image,
            boxes=done.boxes,
            labels=done.labels,
            image_id=row["image_id"],
            original_size=size,
            truth=None if self.train else truth,
        )


def _training_boxes(truth: DetectionTruth, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return boxes and labels without crowds, clipped to the image; what has no area then is dropped."""
    boxes = torch.minimum(truth.boxes.clamp(min=0), truth.boxes.new_tensor([width, height, width, height]))
    keep = ~truth.iscrowd & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return boxes[keep], truth.labels[keep]
