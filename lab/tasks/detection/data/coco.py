"""COCO-layout datasets: one json of instances, one folder of images.

Format: https://cocodataset.org/#format-data. Boxes are (x, y, width, height) with x, y the left upper pixel edge; they
become xyxy by addition. Crowds (``iscrowd``) are left out of training and kept in ``truth``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from lab.data.fields import short
from lab.data.images.annotations import ROWS_VERSION, BadSamplePolicy, RawObject, build_table, make_row
from lab.data.images.class_names import distinct_names
from lab.data.images.coco_json import BoxEntry, join_problems, read_file, usable_area
from lab.data.images.coco_labels import CategoryIds, label_names, read_categories, split_files
from lab.data.images.fingerprint import coco_fingerprint
from lab.data.parts import Part, split_of_one
from lab.data.presence import NO_CATEGORY
from lab.errors import ConfigError, DataError
from lab.ranges import Count, Options, Pixels, Positive, Seed, Share, Word
from lab.tasks.detection.data.dataset import DetectionDataset
from lab.tasks.detection.data.module import Augmentation, FilesDataModule
from lab.tasks.detection.data.transforms import DetectionTransform


class CocoDataset(DetectionDataset):
    """A COCO json and its images.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``; see ``lab.data.images.coco_json`` for what is accepted.
        images: the folder of images, relative to ``root``; ``file_name`` in the json is relative to it.
        train: augment, and leave ``truth`` out; otherwise fill it.
        transform: None leaves images as they are stored.
        category_ids: ``"raw"`` takes COCO's category id as the label and names the gaps "N/A" (0 to 90 for COCO's own
            categories, as official 91-class DETR weights have it); ``"contiguous"`` counts from 0 in order of the ids.
        on_bad_sample: ``"skip"`` goes on without what cannot be used and says so; ``"error"`` raises.
        seed: decides, with epoch and index, every random choice.
        cache_images: keep decoded images in memory (small datasets only).
        part: the part of the file to take; None takes it all.

    Attributes:
        class_names: the name of each label.
        label_to_category: the COCO category id of each label, for results in COCO's format.

    Raises:
        ConfigError: under ``"raw"`` an id is below 0 or above ``MAX_RAW_ID``.
        DataError: a file or folder is missing, or the json is not of COCO's layout.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str = "annotations/instances_train2017.json",
        images: str = "train2017",
        train: bool = True,
        transform: DetectionTransform | None = None,
        category_ids: CategoryIds = "raw",
        on_bad_sample: BadSamplePolicy = "skip",
        seed: int = 0,
        cache_images: bool = False,
        part: Part | None = None,
    ) -> None:
        if category_ids not in ("raw", "contiguous"):
            raise ConfigError(f"category_ids={category_ids!r} is unknown: give 'raw' or 'contiguous'")
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
        super().__init__(table, folder, names, train, transform, on_bad_sample, seed, cache_images, str(source))

    def fingerprint(self) -> str:
        """Return the hash of the annotations and of the images' names and contents."""
        return self._fingerprint


class CocoDataModule(FilesDataModule):
    """``data=coco``: three COCO jsons with their folders of images below one root.

    Args:
        root: the dataset's folder.
        train: ``annotations`` and ``images`` of the training set, relative to ``root``.
        val: the same of the validation set.
        test: the same of the test set; None takes the validation set.
        batch_size: the global batch.
        num_workers: loader processes of each rank.
        seed: of the order and the augmentation.
        image_size: the shorter side in evaluation; DETR's augmentation is scaled with it (800: as published).
        augmentation: other numbers for ``lab.tasks.detection.data.module.Augmentation``, by name.
        category_ids: see ``CocoDataset``.
        on_bad_sample: see ``CocoDataset``.
        cache_images: see ``CocoDataset``.
        val_share: share of the training set to hold out for validation, in place of ``val``; None: ``val`` it is.
        test_share: the same for the test, where ``test`` has no files of its own; None: the validation set.
    """

    def __init__(
        self,
        root: Word,
        train: Mapping[str, str],
        val: Mapping[str, str],
        test: Mapping[str, str] | None = None,
        batch_size: Positive = 16,
        num_workers: Count = 2,
        seed: Seed = 0,
        image_size: Pixels = 800,
        augmentation: Annotated[Mapping[str, Any] | None, Options(Augmentation)] = None,
        category_ids: Literal["raw", "contiguous"] = "raw",
        on_bad_sample: Literal["error", "skip"] = "skip",
        cache_images: bool = False,
        val_share: Share | None = None,
        test_share: Share | None = None,
    ) -> None:
        super().__init__(root, batch_size, num_workers, seed, image_size, augmentation, on_bad_sample, cache_images)
        self.category_ids = category_ids
        files = split_files(train, val, test, ("annotations", "images"))
        self.files, self.parts = split_of_one(files, val_share, test_share, seed)

    def build(self, split: str) -> CocoDataset:
        """Return the dataset of a split.

        Raises:
            DataError: something is missing, or validation and training do not agree on the categories.
        """
        files, train = self.files[split], split == "train"
        dataset = CocoDataset(
            self.root,
            files["annotations"],
            files["images"],
            train=train,
            transform=self.transform(train),
            category_ids=self.category_ids,
            on_bad_sample=self.on_bad_sample,
            seed=self.seed,
            cache_images=self.cache_images,
            part=self.parts.get(split),
        )
        if not train:
            _check_same_labels(self.dataset("train"), dataset, self.category_ids, files["annotations"])
        return dataset


def _check_same_labels(train: CocoDataset, other: CocoDataset, category_ids: CategoryIds, source: str) -> None:
    """Refuse labels that mean another class than in training; with raw ids a file may name fewer classes."""
    names = train.class_names
    for label, name in enumerate(other.class_names):
        expected = names[label] if label < len(names) else NO_CATEGORY
        if name != expected and not (name == NO_CATEGORY and category_ids == "raw"):
            raise DataError(
                f"{source}: label {label} is {name!r}, in training it is {expected!r}; give both files the same "
                "'categories'" + ("" if category_ids == "raw" else ", or set data.category_ids=raw")
            )


def read_rows(annotations: str, images: str, category_ids: CategoryIds, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row (see ``make_row``) for each image of a COCO json; ``key`` only keeps cached tables apart."""
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
