"""COCO-layout datasets: one json of instances, one folder of images.

Format: https://cocodataset.org/#format-data. Boxes are (x, y, width, height) with x, y the left upper pixel edge; they
become xyxy by addition. Crowds (``iscrowd``) are left out of training and kept in ``truth``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from lab.data.annotations import ROWS_VERSION, BadSamplePolicy, RawObject, build_table, make_row
from lab.data.detection import DetectionDataset
from lab.data.files_module import Augmentation, FilesDataModule
from lab.data.fingerprint import coco_fingerprint
from lab.data.transforms import DetectionTransform
from lab.errors import ConfigError, DataError
from lab.ranges import Count, Options, Pixels, Positive, Seed, Word

CategoryIds = Literal["raw", "contiguous"]
NO_CATEGORY = "N/A"


class CocoDataset(DetectionDataset):
    """A COCO json and its images.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``.
        images: the folder of images, relative to ``root``; ``file_name`` in the json is relative to it.
        train: augment, and leave ``truth`` out; otherwise fill it.
        transform: None leaves images as they are stored.
        category_ids: ``"raw"`` takes COCO's category id as the label and names the gaps "N/A" (0 to 90 for COCO's own
            categories, as official 91-class DETR weights have it); ``"contiguous"`` counts from 0 in order of the ids.
        on_bad_sample: ``"skip"`` goes on without what cannot be used and says so; ``"error"`` raises.
        seed: decides, with epoch and index, every random choice.
        cache_images: keep decoded images in memory (small datasets only).

    Attributes:
        class_names: the name of each label.
        label_to_category: the COCO category id of each label, for results in COCO's format.

    Raises:
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
    ) -> None:
        if category_ids not in ("raw", "contiguous"):
            raise ConfigError(f"category_ids={category_ids!r} is unknown: give 'raw' or 'contiguous'")
        self._fingerprint = coco_fingerprint(root, annotations, images)
        source, folder = Path(root) / annotations, Path(root) / images
        key = f"{ROWS_VERSION}-{self._fingerprint}"
        arguments = {"annotations": str(source.resolve()), "key": key}
        categories = build_table(read_categories, arguments, {"id": "int64", "name": "string"})[:]
        names, self.label_to_category = label_names(
            list(zip(categories["id"], categories["name"], strict=True)), category_ids
        )
        arguments |= {"images": str(folder.resolve()), "category_ids": category_ids}
        table = build_table(read_rows, arguments)
        super().__init__(table, folder, names, train, transform, on_bad_sample, seed, cache_images, str(source))

    def fingerprint(self) -> str:
        """Return the hash of the annotations and of the images' names and sizes."""
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
        augmentation: other numbers for ``lab.data.files_module.Augmentation``, by name.
        category_ids: see ``CocoDataset``.
        on_bad_sample: see ``CocoDataset``.
        cache_images: see ``CocoDataset``.
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
    ) -> None:
        super().__init__(root, batch_size, num_workers, seed, image_size, augmentation, on_bad_sample, cache_images)
        self.category_ids = category_ids
        self.files = split_files(train, val, test, ("annotations", "images"))

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
        )
        if not train:
            _check_same_labels(self.dataset("train"), dataset, self.category_ids, files["annotations"])
        return dataset


def split_files(
    train: Mapping[str, str], val: Mapping[str, str], test: Mapping[str, str] | None, parts: Sequence[str]
) -> dict[str, Mapping[str, str]]:
    """Return what each split consists of; without a test set that is the validation set.

    Raises:
        ConfigError: a split lacks one of ``parts``, or has another.
    """
    found = {"train": train, "val": val, "test": test or val}
    for split, files in found.items():
        if set(files) != set(parts):
            wanted = ", ".join(f"'{part}'" for part in parts[:-1]) + f" and '{parts[-1]}'"
            raise ConfigError(f"data.{split} needs {wanted}, not {', '.join(files) or 'nothing'}")
    return found


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


def read_categories(annotations: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield ``{"id", "name"}`` of each category; ``key`` only keeps cached tables apart."""
    del key
    for category in load_coco(Path(annotations))["categories"]:
        yield {"id": int(category["id"]), "name": str(category["name"])}


def read_rows(annotations: str, images: str, category_ids: CategoryIds, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row (see ``make_row``) for each image of a COCO json; ``key`` only keeps cached tables apart."""
    del key
    content = load_coco(Path(annotations))
    _, ids = label_names([(int(item["id"]), str(item["name"])) for item in content["categories"]], category_ids)
    labels = {category: label for label, category in enumerate(ids) if category is not None}
    for image, items in annotated_images(content, annotations):
        objects = [_raw_object(item, labels) for item in items]
        yield make_row(Path(images), str(image["file_name"]), int(image["id"]), stated_size(image), objects)


def annotated_images(content: Mapping[str, Any], source: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return each image of a COCO json with its annotations, in the order of the file.

    Args:
        content: of ``load_coco``.
        source: the file, for messages.

    Raises:
        DataError: two images have one id, or an annotation belongs to no image.
    """
    found: dict[int, list[dict[str, Any]]] = {int(image["id"]): [] for image in content["images"]}
    if len(found) < len(content["images"]):
        raise DataError(f"{source}: two images have the same id; every image needs its own")
    for item in content["annotations"]:
        if int(item["image_id"]) not in found:
            raise DataError(
                f"{source}: annotation {item.get('id')} belongs to image {item['image_id']}, which 'images' lacks"
            )
        found[int(item["image_id"])].append(item)
    return [(image, found[int(image["id"])]) for image in content["images"]]


def stated_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (height, width) of an image as a COCO json states it, or None."""
    return (int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None


def label_names(
    categories: Sequence[tuple[int, str]], category_ids: CategoryIds
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Return the name and the COCO category id of each label; ids are None at the gaps of ``"raw"``."""
    names = dict(sorted(categories))
    ids: tuple[int | None, ...]
    if category_ids == "contiguous":
        ids = tuple(names)
    else:
        ids = tuple(label if label in names else None for label in range(max(names) + 1))
    return tuple(NO_CATEGORY if category is None else names[category] for category in ids), ids


def load_coco(path: Path) -> dict[str, Any]:
    """Read a COCO json of instances.

    Raises:
        DataError: it is not json, lacks one of the three lists, or holds panoptic segments.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not json ({error}); unpack or download it again") from error
    wanted = ("images", "annotations", "categories")
    missing = [name for name in wanted if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; COCO's instances_*.json has the lists {', '.join(wanted)}")
    if not content["categories"]:
        raise DataError(f"{path} names no categories; give at least one with 'id' and 'name'")
    if content["annotations"] and "segments_info" in content["annotations"][0]:
        raise DataError(
            f"{path} is a json of panoptic segments, not of instances; take instances_*.json, or data=coco_panoptic"
        )
    return content


def _raw_object(item: Mapping[str, Any], labels: Mapping[int, int]) -> RawObject:
    box = item.get("bbox") or []
    x, y, width, height = (float(value) for value in box) if len(box) == 4 else (math.nan,) * 4
    return RawObject(
        box=(x, y, x + width, y + height),
        category=str(item["category_id"]),
        label=labels.get(int(item["category_id"])),
        area=float(item.get("area", width * height)),
        iscrowd=bool(item.get("iscrowd", 0)),
    )
