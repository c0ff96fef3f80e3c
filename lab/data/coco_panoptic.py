"""Panoptic COCO: a json of segments, a folder of PNGs whose pixels are their ids, a folder of images.

Format: https://cocodataset.org/#format-data, section 4. A pixel's id is R + 256 G + 65536 B; 0 is unlabelled. Crowds
(``iscrowd``) are left out of training and kept in ``truth``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from lab.data.annotations import BadSamplePolicy, build_table, read_header
from lab.data.coco import split_files
from lab.data.fingerprint import panoptic_fingerprint
from lab.data.label_maps import LabelTable, label_header, read_ids
from lab.data.segmentation import Annotation, SegmentationDataset
from lab.data.segmentation_module import SegmentationAugmentation, SegmentationFilesModule
from lab.data.segmentation_transforms import SegmentationTransform
from lab.data.segments import SegmentKind, drop_empty
from lab.errors import DataError
from lab.ranges import Count, Options, Pixels, Positive, Seed, Word

CATEGORY_COLUMNS = {"id": "int64", "name": "string", "isthing": "bool"}
ROW_COLUMNS = {
    "image_id": "int64",
    "file_name": "string",
    "label_name": "string",
    "height": "int32",
    "width": "int32",
    "ids": "[int64]",
    "labels": "[int64]",
    "iscrowd": "[bool]",
    "unreadable": "string",
    "unknown": "[string]",
}
UNLABELLED = 0
LISTS = ("images", "annotations", "categories")


class PanopticDataset(SegmentationDataset):
    """A panoptic json, its label maps and its images. Labels count the categories from 0 in order of their ids.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``.
        labels: the folder of label maps, relative to ``root``.
        images: the folder of images, relative to ``root``.
        train: see ``SegmentationDataset``.
        transform: see ``SegmentationDataset``.
        segments: see ``SegmentationDataset``.
        on_bad_sample: see ``SegmentationDataset``.
        seed: see ``SegmentationDataset``.
        cache_images: see ``SegmentationDataset``.

    Attributes:
        label_to_category: the COCO category id of each label, for results in COCO's format.
        thing_labels: the labels of things.

    Raises:
        DataError: a file or folder is missing, or the json is not of panoptic COCO's layout.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str = "annotations/panoptic_train2017.json",
        labels: str = "annotations/panoptic_train2017",
        images: str = "train2017",
        train: bool = True,
        transform: SegmentationTransform | None = None,
        segments: SegmentKind = "panoptic",
        on_bad_sample: BadSamplePolicy = "skip",
        seed: int = 0,
        cache_images: bool = False,
    ) -> None:
        self._fingerprint = panoptic_fingerprint(root, annotations, labels, images)
        root = Path(root)
        arguments = {"annotations": str((root / annotations).resolve()), "key": f"1-{self._fingerprint}"}
        categories = build_table(read_categories, arguments, CATEGORY_COLUMNS)[:]
        self.label_to_category = tuple(categories["id"])
        self.thing_labels = tuple(label for label, thing in enumerate(categories["isthing"]) if thing)
        arguments |= {"labels": str((root / labels).resolve()), "images": str((root / images).resolve())}
        table = build_table(read_rows, arguments, ROW_COLUMNS)
        super().__init__(
            table,
            root / images,
            root / labels,
            tuple(categories["name"]),
            train,
            transform,
            segments,
            on_bad_sample,
            seed,
            cache_images,
            str(root / annotations),
        )

    def fingerprint(self) -> str:
        """Return the hash of the json, and of the names and sizes of label maps and images."""
        return self._fingerprint

    def _read(self, path: Path, row: dict[str, Any]) -> tuple[Annotation, Mapping[int, int]]:
        segments, unknown = LabelTable(row["ids"], (UNLABELLED,)).look_up(read_ids(path, packed=True))
        labels = torch.tensor(row["labels"], dtype=torch.int64)
        crowd = torch.tensor(row["iscrowd"], dtype=torch.bool)
        return keep_present(Annotation(segments, labels, crowd)), unknown


class PanopticDataModule(SegmentationFilesModule):
    """``data=coco_panoptic``: three panoptic jsons with their folders below one root.

    Args:
        root: the dataset's folder.
        train: ``annotations``, ``labels`` and ``images`` of the training set, relative to ``root``.
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
        self.files = split_files(train, val, test, ("annotations", "labels", "images"))

    def build(self, split: str) -> PanopticDataset:
        """Return the dataset of a split.

        Raises:
            DataError: something is missing, or validation and training do not agree on the categories.
        """
        files, train = self.files[split], split == "train"
        dataset = PanopticDataset(
            self.root,
            files["annotations"],
            files["labels"],
            files["images"],
            train=train,
            transform=self.transform(train),
            segments=self.segments,
            on_bad_sample=self.on_bad_sample,
            seed=self.seed,
            cache_images=self.cache_images,
        )
        if not train:
            wanted: PanopticDataset = self.dataset("train")
            if (wanted.class_names, wanted.thing_labels) != (dataset.class_names, dataset.thing_labels):
                raise DataError(f"{files['annotations']}: other 'categories' than in training; give both the same")
        return dataset


def keep_present(stored: Annotation) -> Annotation:
    """Leave out segments without a pixel."""
    numbers = torch.arange(len(stored.labels))
    segments, kept = drop_empty(stored.segments, numbers)
    return Annotation(segments, stored.labels[kept], stored.iscrowd[kept])


def read_categories(annotations: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield ``{"id", "name", "isthing"}`` of each category by id; ``key`` only keeps cached tables apart."""
    del key
    for item in sorted(load_panoptic(Path(annotations))["categories"], key=lambda item: int(item["id"])):
        yield {"id": int(item["id"]), "name": str(item["name"]), "isthing": bool(item.get("isthing", 1))}


def read_rows(annotations: str, labels: str, images: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each annotated image, and for each image without an annotation.

    ``key`` only keeps cached tables apart.
    """
    del key
    content = load_panoptic(Path(annotations))
    numbers = {number: label for label, number in enumerate(sorted(int(item["id"]) for item in content["categories"]))}
    annotated = {int(item["image_id"]): item for item in content["annotations"]}
    known = {int(image["id"]) for image in content["images"]}
    for stray in sorted(set(annotated) - known)[:1]:
        raise DataError(f"{annotations}: an annotation belongs to image {stray}, which 'images' lacks")
    for image in content["images"]:
        name, item = str(image["file_name"]), annotated.get(int(image["id"]))
        (height, width), unreadable = read_header(Path(images) / name)
        found = {} if item is None else item
        if not unreadable and item is None:
            unreadable = "it has no annotation"
        elif not unreadable:
            size, unreadable = label_header(Path(labels) / found["file_name"], packed=True)
            if not unreadable and size != (height, width):
                unreadable = f"its label map is {size[1]}x{size[0]}, the image {width}x{height}"
        segments = [part for part in found.get("segments_info", ()) if int(part["category_id"]) in numbers]
        strays = [str(part["category_id"]) for part in found.get("segments_info", ()) if part not in segments]
        yield {
            "image_id": int(image["id"]),
            "file_name": name,
            "label_name": str(found.get("file_name", "")),
            "height": height,
            "width": width,
            "ids": [int(part["id"]) for part in segments],
            "labels": [numbers[int(part["category_id"])] for part in segments],
            "iscrowd": [bool(part.get("iscrowd", 0)) for part in segments],
            "unreadable": unreadable,
            "unknown": strays,
        }


def load_panoptic(path: Path) -> dict[str, Any]:
    """Read a panoptic json.

    Raises:
        DataError: it is not json, or not of panoptic COCO's layout.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not json ({error}); unpack or download it again") from error
    missing = [name for name in LISTS if not isinstance(content, dict) or not content.get(name)]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; COCO's panoptic_*.json has the lists {', '.join(LISTS)}")
    if "segments_info" not in content["annotations"][0]:
        raise DataError(
            f"{path} is a json of instances, not of panoptic segments; take panoptic_*.json, or data=coco_instances"
        )
    return content
