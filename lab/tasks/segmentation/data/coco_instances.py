"""COCO's instances json as segmentation data: polygons and run-length codes of objects, which may overlap.

Format: https://cocodataset.org/#format-data, section 1. Masks are rasterised image by image by COCO's own code (in
faster-coco-eval). All classes are things, and each object is one segment. A map of segments holds one number per pixel:
where masks overlap, the smaller object is drawn over the larger one (the later one if they are equal), and any object
over a crowd. Pixels outside of all objects belong to no segment. Crowds (``iscrowd``) are left out of training.
``truth`` also has the crowds, and every whole mask as run-length code, so that mask AP equals that of COCO's evaluator.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lab.data.fields import short
from lab.data.images.annotations import ROWS_VERSION, build_table, find_image, tell_odd_box
from lab.data.images.class_names import distinct_names
from lab.data.images.coco_entries import MaskEntry, usable_area
from lab.data.images.coco_json import join_problems, read_file
from lab.data.images.coco_labels import label_names, read_categories
from lab.data.images.dataset import READING, Reading
from lab.data.images.fingerprint import coco_fingerprint
from lab.data.images.masks import encode_object, polygons_box, usable_mask
from lab.data.images.module import SplitFilesModule
from lab.data.parts import Part
from lab.errors import DataError
from lab.structures import NO_SEGMENT
from lab.tasks.segmentation.data.dataset import MAP_COLUMNS, Annotation, SegmentationDataset
from lab.tasks.segmentation.data.module import SegmentationFilesModule
from lab.tasks.segmentation.data.segments import MAX_SEGMENTS, SegmentKind
from lab.tasks.segmentation.data.transforms import SegmentationTransform

log = logging.getLogger(__name__)

ROW_COLUMNS = MAP_COLUMNS | {
    "ids": "[string]",
    "masks": "[string]",
    "labels": "[int64]",
    "area": "[float64]",
    "iscrowd": "[bool]",
    "bad_objects": "[string]",
    "mended": "[string]",
    "beyond": "[string]",
    "tiny": "[string]",
    "twice": "[string]",
    "bad_images": "[string]",
    "strays": "[string]",
    "shared": "[string]",
    "wrong_size": "bool",
    "unturned": "bool",
}


class InstancesDataset(SegmentationDataset):
    """A COCO json file of instances and its images. Labels count the categories from 0 in order of their ids.

    Left out and reported when the json file is read: annotations of an unknown category or without a usable mask, and
    polygons with fewer than three corners (other polygons of the object are kept). Empty or damaged masks are reported
    when their image is read. ``on_bad_sample="error"`` raises instead.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``.
        images: the folder of images, relative to ``root``.
        reading: how the images are read.
        segments: see ``SegmentationDataset``.
        part: the part of the file to use; None uses all of it.

    Attributes:
        label_to_category: the COCO category id of each label, for results in COCO's format.
        thing_labels: all labels.

    Raises:
        DataError: a file or folder is missing, or the json file is not in COCO's layout of instances.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str = "annotations/instances_train2017.json",
        images: str = "train2017",
        reading: Reading[SegmentationTransform] = READING,
        segments: SegmentKind = "panoptic",
        part: Part | None = None,
    ) -> None:
        self._fingerprint = coco_fingerprint(root, annotations, images)
        source, folder = Path(root) / annotations, Path(root) / images
        arguments = {"annotations": str(source.resolve()), "key": f"{ROWS_VERSION}-{self._fingerprint}"}
        categories = build_table(read_categories, arguments, {"id": "int64", "name": "string"})[:]
        pairs = distinct_names(list(zip(categories["id"], categories["name"], strict=True)), str(source))
        names, self.label_to_category = label_names(pairs, "contiguous")
        self.thing_labels = tuple(range(len(names)))
        self._bad_masks: set[str] = set()
        table = build_table(read_rows, arguments | {"images": str(folder.resolve())}, ROW_COLUMNS)
        if part is not None:
            table, self._fingerprint = part.of(table, self._fingerprint, str(source))
        super().__init__(table, folder, folder, names, reading, segments, str(source))

    def fingerprint(self) -> str:
        """Return a hash of the json file, and of the images' names and contents."""
        return self._fingerprint

    def _read(self, path: Path, row: dict[str, Any]) -> tuple[Annotation, Mapping[int, int]]:
        size = (row["height"], row["width"])
        codes: list[bytes] = []
        kept: list[int] = []
        sizes: list[tuple[bool, int]] = []
        for place, stored in enumerate(row["masks"]):
            code, area, problem = _whole_mask(json.loads(stored), size)
            if problem:
                self._tell_bad(path, row["ids"][place], problem)
                continue
            codes.append(code)
            kept.append(place)
            sizes.append((not row["iscrowd"][place], -area))
        segments = np.full(size, NO_SEGMENT, dtype=np.int16)
        for number in sorted(range(len(kept)), key=sizes.__getitem__):  # crowds first, then from large to small
            segments[decode(codes[number], size)] = number  # one mask at a time: an image may have thousands
        labels, crowd, areas = (torch.tensor(row[name])[kept] for name in ("labels", "iscrowd", "area"))
        annotation = Annotation(torch.from_numpy(segments), labels.long(), crowd.bool(), tuple(codes), areas.double())
        return annotation, {}

    def _tell_bad(self, path: Path, number: str, problem: str) -> None:
        """Raise, or log once per annotation, that an object's mask cannot be used."""
        message = f"{self._source}: annotation {number} of {path.name}: {problem}"
        if self.reading.on_bad_sample == "error":
            raise DataError(f"{message}; mend it, or set data.on_bad_sample=skip to go on without it")
        if message not in self._bad_masks:
            self._bad_masks.add(message)
            log.warning("%s; left out", message)


@dataclass(eq=False)
class InstancesDataModule(SplitFilesModule, SegmentationFilesModule):
    """``data=coco_instances``: COCO json files of instances (``annotations``), folders of images (``images``)."""

    needed = ("annotations", "images")

    def read(self, files: Mapping[str, str], reading: Reading[Any], part: Part | None) -> InstancesDataset:
        """Return the dataset of a json file."""
        return InstancesDataset(self.folder, files["annotations"], files["images"], reading, self.segments, part)


def read_rows(annotations: str, images: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each image of a COCO json file, masks as stored; ``key`` only makes the cache's key unique."""
    del key
    content = read_file(Path(annotations), Path(images), MaskEntry)
    labels = {category.id: label for label, category in enumerate(content.categories)}
    of_the_file = content.problems()
    for image in content.images:
        stated = image.entry.stated_size
        name, size, unreadable, unturned = find_image(Path(images), image.name, stated)
        row: dict[str, Any] = {column: [] for column, kind in ROW_COLUMNS.items() if kind.startswith("[")}
        row |= {"image_id": image.number, "file_name": name, "label_name": name}
        row |= {"height": size[0], "width": size[1], "bad_objects": image.bad}
        row |= {"wrong_size": not unreadable and stated not in (None, size), "unturned": unturned}
        for item in image.items if not unreadable else ():
            _add_object(row, item, labels, size)
        if len(row["ids"]) > MAX_SEGMENTS:
            unreadable = f"it has {len(row['ids'])} objects, of which {MAX_SEGMENTS} can be told apart"
        yield join_problems(row | {"unreadable": unreadable}, of_the_file, {"twice": image.twice})
        of_the_file = {}


def _add_object(row: dict[str, Any], item: MaskEntry, labels: Mapping[int, int], size: tuple[int, int]) -> None:
    """Add an annotation to a row, or a record of what is wrong with it."""
    mask, problem = usable_mask(item.segmentation, size)
    if item.category_id not in labels:
        mask, problem = None, f"unknown category {short(item.category_id)}"
    if problem:
        row["bad_objects"].append(f"annotation {item.id} ({problem})")
    if mask is None:
        return
    if isinstance(mask, list):
        tell_odd_box(row, polygons_box(mask), size, f"annotation {item.id}")
    area = usable_area(item.area)
    if area is None and item.area is not None:
        row["mended"].append(f"area={short(item.area)} (annotation {item.id})")
    row["ids"].append(str(item.id))
    row["masks"].append(json.dumps(mask))
    row["labels"].append(labels[item.category_id])
    row["area"].append(area or 0)  # 0 means the area of the mask
    row["iscrowd"].append(bool(item.iscrowd))


def _whole_mask(stored: Any, size: tuple[int, int]) -> tuple[bytes, int, str]:
    """Return a mask's code, its area in pixels, and what is wrong with it or ``""``."""
    try:
        code = encode_object(stored, size)
        area = int(np.count_nonzero(decode(code, size)))
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:  # raised by COCO's code for invalid masks
        return b"", 0, f"its mask cannot be decoded: {error}"
    return code, area, "" if area else "its mask is empty"


def decode(code: bytes, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the mask (h, w) of COCO's run-length code."""
    from faster_coco_eval.core import mask as coco_mask

    return np.asarray(coco_mask.decode({"size": list(size), "counts": code})).view(np.bool_)
