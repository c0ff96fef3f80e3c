"""Datasets in COCO's layout: a json file of instances and a folder of images.

Format: https://cocodataset.org/#format-data. Boxes are (x, y, width, height) with x, y the left upper pixel edge; they
become xyxy by addition. Crowds (``iscrowd``) are left out of training and kept in ``truth``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from lab.checking import check_choice
from lab.data.fields import short
from lab.data.images.annotations import ROWS_VERSION, RawObject, build_table, make_row
from lab.data.images.class_names import distinct_names
from lab.data.images.coco_entries import BoxEntry, usable_area
from lab.data.images.coco_json import join_problems, read_file
from lab.data.images.coco_labels import CategoryIds, label_names, read_categories
from lab.data.images.dataset import READING, Reading
from lab.data.images.fingerprint import coco_fingerprint
from lab.data.images.module import SplitFilesModule
from lab.data.parts import Part
from lab.data.presence import NO_CATEGORY
from lab.errors import DataError
from lab.tasks.detection.data.dataset import DetectionDataset
from lab.tasks.detection.data.module import FilesDataModule
from lab.tasks.detection.data.transforms import DetectionTransform


class CocoDataset(DetectionDataset):
    """A COCO json file and its images.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``; see ``lab.data.images.coco_json`` for what is accepted.
        images: the folder of images, relative to ``root``; ``file_name`` in the json is relative to it.
        reading: how the images are read.
        category_ids: ``"raw"`` uses COCO's category ids as labels and names the gaps "N/A" (0 to 90 for COCO's own
            categories, as in official 91-class DETR weights); ``"contiguous"`` counts from 0 in order of the ids.
        part: the part of the file to use; None uses all of it.

    Attributes:
        class_names: the name of each label.
        label_to_category: the COCO category id of each label, for results in COCO's format.

    Raises:
        ConfigError: under ``"raw"`` an id is below 0 or above ``MAX_RAW_ID``.
        DataError: a file or folder is missing, or the json file is not in COCO's layout.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str = "annotations/instances_train2017.json",
        images: str = "train2017",
        reading: Reading[DetectionTransform] = READING,
        category_ids: CategoryIds = "raw",
        part: Part | None = None,
    ) -> None:
        check_choice("category_ids", category_ids, ("raw", "contiguous"))
        self._fingerprint = coco_fingerprint(root, annotations, images)
        source, folder = Path(root) / annotations, Path(root) / images
        key = f"{ROWS_VERSION}-{self._fingerprint}"
        arguments = {"annotations": str(source.resolve()), "key": key}
        categories = build_table(read_categories, arguments, {"id": "int64", "name": "string"})[:]
        names, self.label_to_category = label_names(
            distinct_names(list(zip(categories["id"], categories["name"], strict=True)), str(source)), category_ids
        )
        arguments |= {"images": str(folder.resolve()), "category_ids": category_ids}
        table = build_table(read_rows, arguments)
        if part is not None:
            table, self._fingerprint = part.of(table, self._fingerprint, str(source))
        super().__init__(table, folder, names, reading, str(source))

    def fingerprint(self) -> str:
        """Return the hash of the annotations and of the images' names and contents."""
        return self._fingerprint


@dataclass(eq=False)
class CocoDataModule(SplitFilesModule, FilesDataModule):
    """``data=coco``: COCO json files (``annotations``) with their folders of images (``images``) below one root.

    Args:
        category_ids: see ``CocoDataset``.
    """

    _: KW_ONLY
    category_ids: CategoryIds = "raw"

    needed = ("annotations", "images")

    def read(self, files: Mapping[str, str], reading: Reading[Any], part: Part | None) -> CocoDataset:
        """Return the dataset of a json file."""
        return CocoDataset(
            self.folder, files["annotations"], files["images"], reading, category_ids=self.category_ids, part=part
        )

    def check_classes(self, dataset: Any, files: Mapping[str, str]) -> None:
        """Refuse a file whose labels mean other classes than in training; with raw ids it may name fewer classes."""
        names, raw = self.dataset("train").class_names, self.category_ids == "raw"
        for label, name in enumerate(dataset.class_names):
            expected = names[label] if label < len(names) else NO_CATEGORY
            if name != expected and not (name == NO_CATEGORY and raw):
                raise DataError(
                    f"{files['annotations']}: label {label} is {name!r}, in training it is {expected!r}; give both "
                    "files the same 'categories'" + ("" if raw else ", or set data.category_ids=raw")
                )


def read_rows(annotations: str, images: str, category_ids: CategoryIds, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row (see ``make_row``) for each image of a COCO json file; ``key`` only makes the cache's key unique."""
    del key
    content = read_file(Path(annotations), Path(images), BoxEntry)
    _, ids = label_names([(item.id, str(item.name)) for item in content.categories], category_ids)
    labels = {category: label for label, category in enumerate(ids) if category is not None}
    of_the_file = content.problems()
    for image in content.images:
        objects = [_raw_object(item, labels) for item in image.items]
        stated = image.entry.stated_size
        row = make_row(Path(images), image.name, image.number, stated, objects, image.bad, image.twice)
        yield join_problems(row, of_the_file)
        of_the_file = {}


def _raw_object(item: BoxEntry, labels: Mapping[int, int]) -> RawObject:
    x, y, width, height = item.bbox or (math.nan,) * 4
    area = usable_area(item.area)
    return RawObject(
        box=(x, y, x + width, y + height),
        category=short(item.category_id),
        label=labels.get(item.category_id),
        area=area,
        iscrowd=bool(item.iscrowd),
        name=f"annotation {item.id}",
        mended=f"area={short(item.area)}" if area is None and item.area is not None else "",
    )
