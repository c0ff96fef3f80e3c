"""Panoptic COCO: a json file of segments, a folder of PNGs whose pixels are segment ids, a folder of images.

Format: https://cocodataset.org/#format-data, section 4. A pixel's id is R + 256 G + 65536 B; 0 is unlabelled. Crowds
(``iscrowd``) are left out of training and kept in ``truth``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from lab.data.fields import Flag, Whole, check_each, short
from lab.data.images.annotations import ROWS_VERSION, build_table, find_image
from lab.data.images.class_names import distinct_names
from lab.data.images.coco_entries import WANTED, PanopticEntry
from lab.data.images.coco_json import (
    ImageItems,
    check_categories,
    is_name,
    join_problems,
    read_file,
)
from lab.data.images.dataset import READING, Reading
from lab.data.images.fingerprint import panoptic_fingerprint
from lab.data.images.module import SplitFilesModule
from lab.data.json_files import load_lists
from lab.data.parts import Part
from lab.tasks.segmentation.data.dataset import MAP_COLUMNS, Annotation, SegmentationDataset
from lab.tasks.segmentation.data.label_maps import LabelTable, label_header, read_ids
from lab.tasks.segmentation.data.module import SegmentationFilesModule
from lab.tasks.segmentation.data.segments import MAX_SEGMENTS, SegmentKind, drop_empty
from lab.tasks.segmentation.data.transforms import SegmentationTransform

CATEGORY_COLUMNS = {"id": "int64", "name": "string", "isthing": "bool"}
ROW_COLUMNS = MAP_COLUMNS | {
    "ids": "[int64]",
    "labels": "[int64]",
    "iscrowd": "[bool]",
    "unknown": "[string]",
    "bad_objects": "[string]",
    "twice": "[string]",
    "bad_images": "[string]",
    "strays": "[string]",
    "shared": "[string]",
    "wrong_size": "bool",
}
UNLABELLED = 0
HIGHEST_ID = 256**3 - 1


@dataclass(slots=True, kw_only=True)
class SegmentEntry:
    """An entry of ``segments_info``."""

    id: Whole
    category_id: Whole
    iscrowd: Flag | None = None


class PanopticDataset(SegmentationDataset):
    """A panoptic json file, its label maps and its images. Labels count the categories from 0 in order of their ids.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``.
        labels: the folder of label maps, relative to ``root``.
        images: the folder of images, relative to ``root``.
        reading: how images and maps are read.
        segments: see ``SegmentationDataset``.
        part: the part of the file to use; None uses all of it.

    Attributes:
        label_to_category: the COCO category id of each label, for results in COCO's format.
        thing_labels: the labels of things.

    Raises:
        DataError: a file or folder is missing, or the json file is not in panoptic COCO's layout.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str = "annotations/panoptic_train2017.json",
        labels: str = "annotations/panoptic_train2017",
        images: str = "train2017",
        reading: Reading[SegmentationTransform] = READING,
        segments: SegmentKind = "panoptic",
        part: Part | None = None,
    ) -> None:
        self._fingerprint = panoptic_fingerprint(root, annotations, labels, images)
        root = Path(root)
        arguments = {"annotations": str((root / annotations).resolve()), "key": f"{ROWS_VERSION}-{self._fingerprint}"}
        categories = build_table(read_categories, arguments, CATEGORY_COLUMNS)[:]
        pairs = list(zip(categories["id"], categories["name"], strict=True))
        names = tuple(name for _, name in distinct_names(pairs, str(root / annotations)))
        self.label_to_category = tuple(categories["id"])
        self.thing_labels = tuple(label for label, thing in enumerate(categories["isthing"]) if thing)
        arguments |= {"labels": str((root / labels).resolve()), "images": str((root / images).resolve())}
        table = build_table(read_rows, arguments, ROW_COLUMNS)
        source = str(root / annotations)
        if part is not None:
            table, self._fingerprint = part.of(table, self._fingerprint, source)
        super().__init__(table, root / images, root / labels, names, reading, segments, source)

    def fingerprint(self) -> str:
        """Return a hash of the json file, and of the names and contents of label maps and images."""
        return self._fingerprint

    def _read(self, path: Path, row: dict[str, Any]) -> tuple[Annotation, Mapping[int, int]]:
        segments, unknown = LabelTable(row["ids"], (UNLABELLED,)).look_up(read_ids(path, packed=True))
        labels = torch.tensor(row["labels"], dtype=torch.int64)
        crowd = torch.tensor(row["iscrowd"], dtype=torch.bool)
        return keep_present(Annotation(segments, labels, crowd)), unknown


@dataclass(eq=False)
class PanopticDataModule(SplitFilesModule, SegmentationFilesModule):
    """``data=coco_panoptic``: panoptic json files (``annotations``) with folders of ``labels`` and ``images``."""

    needed = ("annotations", "labels", "images")

    def read(self, files: Mapping[str, str], reading: Reading[Any], part: Part | None) -> PanopticDataset:
        """Return the dataset of a json file."""
        annotations, labels, images = (files[name] for name in self.needed)
        return PanopticDataset(self.folder, annotations, labels, images, reading, self.segments, part)


def keep_present(stored: Annotation) -> Annotation:
    """Leave out segments without a pixel."""
    numbers = torch.arange(len(stored.labels))
    segments, kept = drop_empty(stored.segments, numbers)
    return Annotation(segments, stored.labels[kept], stored.iscrowd[kept])


def read_categories(annotations: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield ``{"id", "name", "isthing"}`` of each category, by id; ``key`` only makes the cache's key unique."""
    del key
    path = Path(annotations)
    for item in check_categories(load_lists(path, "panoptic", panoptic=True)["categories"], path)[0]:
        yield {"id": item.id, "name": item.name, "isthing": item.isthing is not False}


def read_rows(annotations: str, labels: str, images: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each annotated image, and for each image without an annotation.

    ``key`` only makes the cache's key unique.
    """
    del key
    content = read_file(Path(annotations), Path(images), PanopticEntry, "panoptic", panoptic=True)
    numbers = {category.id: label for label, category in enumerate(content.categories)}
    of_the_file = content.problems()
    for image in content.images:
        item, problem = _only_annotation(image)
        name, size, unreadable, _ = find_image(Path(images), image.name)
        row: dict[str, Any] = {column: [] for column, kind in ROW_COLUMNS.items() if kind.startswith("[")}
        row |= {"image_id": image.number, "file_name": name, "height": size[0], "width": size[1]}
        row["wrong_size"] = not unreadable and image.entry.stated_size not in (None, size)
        unreadable = unreadable or problem
        if item is not None and not unreadable:
            label_size, unreadable = label_header(Path(labels), item.file_name, packed=True)
            if not unreadable and label_size != size:
                unreadable = f"its label map is {label_size[1]}x{label_size[0]}, the image {size[1]}x{size[0]}"
        if item is not None:
            _add_segments(row, item.segments_info, numbers)
        if len(row["ids"]) > MAX_SEGMENTS:
            unreadable = f"it has {len(row['ids'])} segments, of which {MAX_SEGMENTS} can be told apart"
        row |= {"label_name": "" if item is None else item.file_name, "unreadable": unreadable}
        yield join_problems(row, of_the_file, {"twice": image.twice})
        of_the_file = {}


def _only_annotation(image: ImageItems[PanopticEntry]) -> tuple[PanopticEntry | None, str]:
    """Return an image's only annotation, or None and the reason why there is not exactly one."""
    different: list[PanopticEntry] = []
    for item in image.items:
        if any((item.file_name, item.segments_info) == (one.file_name, one.segments_info) for one in different[:2]):
            image.twice.append(f"annotation of {image.name}")
        else:
            different.append(item)
    if len(different) > 1:
        return None, f"{len(different)} annotations that differ"
    if not different:
        return None, "; ".join(image.bad) or "it has no annotation"
    if not is_name(different[0].file_name):
        return None, f"its annotation's file_name={short(different[0].file_name)} can be no file's name"
    return different[0], ""


def _add_segments(row: dict[str, Any], items: list[Any], numbers: Mapping[int, int]) -> None:
    """Add the segments of an image to its row, or a record of what is wrong with them."""
    found: dict[int, SegmentEntry] = {}
    torn = set()
    wanted = WANTED | {"id": f"a number from 1 to {HIGHEST_ID}"}
    checked = check_each(_segments(), items, wanted)
    for place, (item, segment, problem) in enumerate(checked, 1):
        name = f"segment no. {place}" if segment is None else f"segment {short(segment.id)}"
        if segment is None or not UNLABELLED < segment.id <= HIGHEST_ID:
            row["bad_objects"].append(f"{name} ({problem or 'id=' + short(item['id']) + ' is not ' + wanted['id']})")
        elif found.setdefault(segment.id, segment) is segment:
            continue
        elif found[segment.id] == segment:
            row["twice"].append(f"{name} of {row['file_name']}")
        else:
            row["bad_objects"].append(f"{name} (listed twice, and not alike)")
            torn.add(segment.id)
    for number, one in found.items():
        if one.category_id not in numbers:
            row["unknown"].append(short(one.category_id))
        elif number not in torn:
            row["ids"].append(number)
            row["labels"].append(numbers[one.category_id])
            row["iscrowd"].append(bool(one.iscrowd))


@cache
def _segments() -> TypeAdapter[list[SegmentEntry]]:
    return TypeAdapter(list[SegmentEntry])
