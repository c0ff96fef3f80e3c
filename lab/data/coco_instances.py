"""COCO's own instances json as data of segmentation: polygons and run-length codes of objects, which may overlap.

Format: https://cocodataset.org/#format-data, section 1. Masks are rasterised image by image, by COCO's own code (of
faster-coco-eval). All classes are things, and each object is a segment of its own. A map of segments holds one number
for each pixel: where masks overlap, the smaller object is drawn over the larger one, and any object over a crowd; of
two as large, the later one. Pixels of no object belong to no segment. Crowds (``iscrowd``) are left out of training.
``truth`` holds crowds too, and every mask whole, as its code, so that mask AP is that of COCO's evaluator on the file.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from lab.data.annotations import BadSamplePolicy, build_table, read_header
from lab.data.coco import annotated_images, label_names, load_coco, read_categories, split_files, stated_size
from lab.data.fingerprint import coco_fingerprint
from lab.data.segmentation import Annotation, SegmentationDataset
from lab.data.segmentation_module import SegmentationAugmentation, SegmentationFilesModule
from lab.data.segmentation_transforms import SegmentationTransform
from lab.data.segments import SegmentKind
from lab.errors import DataError
from lab.ranges import Count, Options, Pixels, Positive, Seed, Word
from lab.structures import NO_SEGMENT

log = logging.getLogger(__name__)

ROW_COLUMNS = {
    "image_id": "int64",
    "file_name": "string",
    "label_name": "string",
    "height": "int32",
    "width": "int32",
    "ids": "[string]",
    "masks": "[string]",
    "labels": "[int64]",
    "area": "[float64]",
    "iscrowd": "[bool]",
    "unreadable": "string",
    "bad_objects": "[string]",
    "wrong_size": "bool",
}
MIN_NUMBERS = 6  # of a polygon: three corners


class InstancesDataset(SegmentationDataset):
    """A COCO json of instances and its images. Labels count the categories from 0 in order of their ids.

    An annotation of an unknown category or without a usable mask is left out, and so is a polygon of fewer than three
    corners, the object's others being kept: told when the json is read. That a mask turns out to be empty or damaged
    is told when its image is read. ``on_bad_sample="error"`` raises instead.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``.
        images: the folder of images, relative to ``root``.
        train: see ``SegmentationDataset``.
        transform: see ``SegmentationDataset``.
        segments: see ``SegmentationDataset``.
        on_bad_sample: see ``SegmentationDataset``.
        seed: see ``SegmentationDataset``.
        cache_images: see ``SegmentationDataset``.

    Attributes:
        label_to_category: the COCO category id of each label, for results in COCO's format.
        thing_labels: all labels.

    Raises:
        DataError: a file or folder is missing, or the json is not of COCO's layout of instances.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str = "annotations/instances_train2017.json",
        images: str = "train2017",
        train: bool = True,
        transform: SegmentationTransform | None = None,
        segments: SegmentKind = "panoptic",
        on_bad_sample: BadSamplePolicy = "skip",
        seed: int = 0,
        cache_images: bool = False,
    ) -> None:
        self._fingerprint = coco_fingerprint(root, annotations, images)
        source, folder = Path(root) / annotations, Path(root) / images
        arguments = {"annotations": str(source.resolve()), "key": f"1-{self._fingerprint}"}
        categories = build_table(read_categories, arguments, {"id": "int64", "name": "string"})[:]
        pairs = list(zip(categories["id"], categories["name"], strict=True))
        names, self.label_to_category = label_names(pairs, "contiguous")
        self.thing_labels = tuple(range(len(names)))
        self._bad_masks: set[str] = set()
        table = build_table(read_rows, arguments | {"images": str(folder.resolve())}, ROW_COLUMNS)
        super().__init__(
            table,
            folder,
            folder,
            names,
            train,
            transform,
            segments,
            on_bad_sample,
            seed,
            cache_images,
            str(source),
        )

    def fingerprint(self) -> str:
        """Return the hash of the json, and of the images' names and sizes."""
        return self._fingerprint

    def _read(self, path: Path, row: dict[str, Any]) -> tuple[Annotation, Mapping[int, int]]:
        from faster_coco_eval.core import mask as coco_mask

        size = (row["height"], row["width"])
        codes: list[bytes] = []
        shown, sizes, kept = [], [], []
        for place, stored in enumerate(row["masks"]):
            try:
                code = encode_object(json.loads(stored), size)
                mask = coco_mask.decode({"size": list(size), "counts": code})
                problem = "" if mask.any() else "its mask is empty"
            except (ValueError, TypeError, RuntimeError) as error:  # what COCO's code raises for a code that is none
                problem = f"its mask cannot be decoded: {error}"
            if problem:
                self._tell_bad(path, row["ids"][place], problem)
                continue
            codes.append(code)
            shown.append(mask.astype(bool))
            sizes.append((not row["iscrowd"][place], -int(mask.sum())))
            kept.append(place)
        segments = np.full(size, NO_SEGMENT, dtype=np.int16)
        for number in sorted(range(len(kept)), key=sizes.__getitem__):  # crowds first, then from large to small
            segments[shown[number]] = number
        labels, crowd, area = (torch.tensor(row[name])[kept] for name in ("labels", "iscrowd", "area"))
        annotation = Annotation(torch.from_numpy(segments), labels.long(), crowd.bool(), tuple(codes), area.double())
        return annotation, {}

    def _tell_bad(self, path: Path, number: str, problem: str) -> None:
        """Raise, or log once for each annotation, that an object's mask is of no use."""
        message = f"{self._source}: annotation {number} of {path.name}: {problem}"
        if self.on_bad_sample == "error":
            raise DataError(f"{message}; mend it, or set data.on_bad_sample=skip to go on without it")
        if message not in self._bad_masks:
            self._bad_masks.add(message)
            log.warning("%s; left out", message)


class InstancesDataModule(SegmentationFilesModule):
    """``data=coco_instances``: three COCO jsons of instances with their folders of images below one root.

    Args:
        root: the dataset's folder.
        train: ``annotations`` and ``images`` of the training set, relative to ``root``.
        val: the same of the validation set.
        test: the same of the test set; None takes the validation set.
        segments: see ``SegmentationFilesModule``.
        batch_size: the global batch.
        num_workers: loader processes of each rank.
        seed: of the order and the augmentation.
        image_size: see ``SegmentationFilesModule``.
        augmentation: see ``SegmentationFilesModule``.
        on_bad_sample: see ``SegmentationFilesModule``.
        cache_images: see ``SegmentationFilesModule``.
    """

    def __init__(
        self,
        root: Word,
        train: Mapping[str, str],
        val: Mapping[str, str],
        test: Mapping[str, str] | None = None,
        segments: Literal["semantic", "panoptic"] = "panoptic",
        batch_size: Positive = 16,
        num_workers: Count = 2,
        seed: Seed = 0,
        image_size: Pixels | None = 800,
        augmentation: Annotated[Mapping[str, Any] | None, Options(SegmentationAugmentation)] = None,
        on_bad_sample: Literal["error", "skip"] = "skip",
        cache_images: bool = False,
    ) -> None:
        super().__init__(
            root, batch_size, num_workers, seed, image_size, augmentation, segments, on_bad_sample, cache_images
        )
        self.files = split_files(train, val, test, ("annotations", "images"))

    def build(self, split: str) -> InstancesDataset:
        """Return the dataset of a split.

        Raises:
            DataError: something is missing, or validation and training do not agree on the categories.
        """
        files, train = self.files[split], split == "train"
        dataset = InstancesDataset(
            self.root,
            files["annotations"],
            files["images"],
            train=train,
            transform=self.transform(train),
            segments=self.segments,
            on_bad_sample=self.on_bad_sample,
            seed=self.seed,
            cache_images=self.cache_images,
        )
        if not train and self.dataset("train").class_names != dataset.class_names:
            raise DataError(f"{files['annotations']}: other 'categories' than in training; give both the same")
        return dataset


def read_rows(annotations: str, images: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each image of a COCO json, masks as they are stored; ``key`` only keeps cached tables apart."""
    del key
    content = load_coco(Path(annotations))
    labels = {number: label for label, number in enumerate(sorted(int(item["id"]) for item in content["categories"]))}
    for image, items in annotated_images(content, annotations):
        name = str(image["file_name"])
        size, unreadable = read_header(Path(images) / name)
        row: dict[str, Any] = {"image_id": int(image["id"]), "file_name": name, "label_name": name}
        row |= {"height": size[0], "width": size[1], "unreadable": unreadable}
        row |= {column: [] for column in ("ids", "masks", "labels", "area", "iscrowd", "bad_objects")}
        row["wrong_size"] = not unreadable and stated_size(image) not in (None, size)
        for item in items if not unreadable else ():
            mask, problem = usable_mask(item.get("segmentation"), size)
            if int(item["category_id"]) not in labels:
                mask, problem = None, f"unknown category {item['category_id']}"
            if problem:
                row["bad_objects"].append(f"annotation {item.get('id')} ({problem})")
            if mask is not None:
                row["ids"].append(str(item.get("id")))
                row["masks"].append(json.dumps(mask))
                row["labels"].append(labels[int(item["category_id"])])
                row["area"].append(float(item.get("area") or 0))
                row["iscrowd"].append(bool(item.get("iscrowd", 0)))
        yield row


def usable_mask(stored: Any, size: tuple[int, int]) -> tuple[Any, str]:
    """Return what of a ``segmentation`` can be rasterised, None for nothing, and what is wrong or ``""``.

    Args:
        stored: polygons, or a run-length code whose counts are numbers or COCO's string.
        size: (height, width) of the image.
    """
    if isinstance(stored, list) and stored:
        good = [part for part in stored if _is_polygon(part)]
        what = f"{len(stored) - len(good)} of {len(stored)} polygons are not x, y of three or more corners"
        return good or None, what if len(good) < len(stored) else ""
    if not isinstance(stored, dict) or not isinstance(stored.get("counts"), list | str) or "size" not in stored:
        return None, "no segmentation" if not stored else "neither polygons nor a run-length code"
    if list(stored["size"]) != list(size):
        return None, f"a code of [height, width] {stored['size']}, the image is {list(size)}"
    if isinstance(stored["counts"], list):
        whole = all(isinstance(value, int) and value >= 0 for value in stored["counts"])
        if not whole or sum(stored["counts"]) != size[0] * size[1]:
            return None, f"counts that do not add up to the image's {size[0] * size[1]} pixels"
    return stored, ""


def encode_object(stored: Any, size: tuple[int, int]) -> bytes:
    """Return COCO's run-length code of a usable mask in an image of (height, width); polygons are united."""
    from faster_coco_eval.core import mask as coco_mask

    if isinstance(stored, list):
        return bytes(coco_mask.merge(coco_mask.frPyObjects(stored, *size))["counts"])
    if isinstance(stored["counts"], list):
        return bytes(coco_mask.frPyObjects(stored, *size)["counts"])
    return bytes(stored["counts"].encode())


def _is_polygon(part: Any) -> bool:
    return (
        isinstance(part, list)
        and len(part) >= MIN_NUMBERS
        and len(part) % 2 == 0
        and all(isinstance(value, int | float) and math.isfinite(value) for value in part)
    )
