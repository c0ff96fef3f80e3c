"""Pascal-VOC directories: one XML for each image, lists of splits in ``ImageSets/Main``.

Format: Everingham et al., The Pascal Visual Object Classes Challenge, development kit. Corners are pixels counted from
1, both included: ``xmin=1, xmax=640`` is the whole width of 640 pixels. As pixel edges that is ``xmin - 1`` and
``xmax``, so that boxes become (xmin - 1, ymin - 1, xmax, ymax) exactly. A box whose stated corners coincide or are
swapped (``xmax <= xmin``) is taken for an annotator's slip, not for one pixel, and left out.

Objects marked ``difficult`` are neither hits nor misses in VOC's evaluation; here they are handled as COCO's crowds:
left out of training, kept in ``truth`` with ``iscrowd`` set. The area of an object is that of its box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

from lab.data.annotations import ROWS_VERSION, BadSamplePolicy, RawObject, build_table, make_row
from lab.data.detection import DetectionDataset
from lab.data.files_module import Augmentation, FilesDataModule
from lab.data.fingerprint import IMAGE_SUFFIXES, read_split, voc_fingerprint
from lab.data.transforms import DetectionTransform
from lab.errors import DataError
from lab.ranges import Count, Options, Pixels, Positive, Seed, Word


class VocDataset(DetectionDataset):
    """One split of a Pascal-VOC directory. ``image_id`` is the image's place in the split's list, from 0.

    Args:
        root: the folder that holds ``ImageSets/Main``, ``Annotations`` and ``JPEGImages``.
        split: the name of a list in ``ImageSets/Main``, without its suffix.
        train: augment, and leave ``truth`` out; otherwise fill it.
        transform: None leaves images as they are stored.
        class_names: the name of each label in label order; None takes all names that stand in ``Annotations``, sorted.
        on_bad_sample: ``"skip"`` goes on without what cannot be used and says so; ``"error"`` raises.
        seed: decides, with epoch and index, every random choice.
        cache_images: keep decoded images in memory (small datasets only).

    Raises:
        DataError: the list or a folder is missing, or no class is found.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        train: bool = True,
        transform: DetectionTransform | None = None,
        class_names: Sequence[str] | None = None,
        on_bad_sample: BadSamplePolicy = "skip",
        seed: int = 0,
        cache_images: bool = False,
    ) -> None:
        self._fingerprint = voc_fingerprint(root, split)
        names = tuple(class_names) if class_names is not None else discover_classes(Path(root) / "Annotations")
        arguments = {
            "root": str(Path(root).resolve()),
            "split": split,
            "class_names": names,
            "key": f"{ROWS_VERSION}-{self._fingerprint}",
        }
        table = build_table(read_rows, arguments)
        folder, source = Path(root) / "JPEGImages", f"{Path(root)} split {split}"
        super().__init__(table, folder, names, train, transform, on_bad_sample, seed, cache_images, source)

    def fingerprint(self) -> str:
        """Return the hash of the split, its annotations, and of the images' names and sizes."""
        return self._fingerprint


class VocDataModule(FilesDataModule):
    """``data=voc``: three splits of a Pascal-VOC directory.

    Args:
        root: the folder that holds ``ImageSets/Main``, ``Annotations`` and ``JPEGImages``.
        train_split: the list in ``ImageSets/Main`` to train on, without its suffix.
        val_split: the list to validate on.
        test_split: the list to test on.
        class_names: see ``VocDataset``.
        batch_size: the global batch.
        num_workers: loader processes of each rank.
        seed: of the order and the augmentation.
        image_size: the shorter side in evaluation; DETR's augmentation is scaled with it (800: as published).
        augmentation: other numbers for ``lab.data.files_module.Augmentation``, by name.
        on_bad_sample: see ``VocDataset``.
        cache_images: see ``VocDataset``.
    """

    def __init__(
        self,
        root: Word,
        train_split: Word = "train",
        val_split: Word = "val",
        test_split: Word = "test",
        class_names: Sequence[str] | None = None,
        batch_size: Positive = 16,
        num_workers: Count = 2,
        seed: Seed = 0,
        image_size: Pixels = 800,
        augmentation: Annotated[Mapping[str, Any] | None, Options(Augmentation)] = None,
        on_bad_sample: Literal["error", "skip"] = "skip",
        cache_images: bool = False,
    ) -> None:
        super().__init__(root, batch_size, num_workers, seed, image_size, augmentation, on_bad_sample, cache_images)
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.class_names = class_names

    def build(self, split: str) -> VocDataset:
        """Return the dataset of a split."""
        train = split == "train"
        return VocDataset(
            self.root,
            self.splits[split],
            train=train,
            transform=self.transform(train),
            class_names=self.class_names,
            on_bad_sample=self.on_bad_sample,
            seed=self.seed,
            cache_images=self.cache_images,
        )


def discover_classes(annotations: Path) -> tuple[str, ...]:
    """Return the names of all objects in a folder of XML files, whatever their split, sorted.

    Raises:
        DataError: there is none.
    """
    names: set[str] = set()
    for path in sorted(annotations.glob("*.xml")):
        root = _parse(path)
        names.update(_text(item, "name") for item in (root.iterfind("object") if root is not None else ()))
    if not names - {""}:
        raise DataError(f"{annotations} holds no XML with objects, so there are no classes; name them by class_names")
    return tuple(sorted(names - {""}))


def read_rows(root: str, split: str, class_names: Sequence[str], key: str) -> Iterator[dict[str, Any]]:
    """Yield a row (see ``make_row``) for each image of a split; ``key`` only keeps cached tables apart."""
    del key
    labels = {name: label for label, name in enumerate(class_names)}
    folder = Path(root) / "JPEGImages"
    files = {path.stem: path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    for position, stem in enumerate(read_split(Path(root) / "ImageSets" / "Main" / f"{split}.txt")):
        name = files.get(stem, f"{stem}.jpg")
        tree = _parse(Path(root) / "Annotations" / f"{stem}.xml")
        if tree is None:
            row = make_row(folder, name, position, None, [])
            yield row | {"unreadable": row["unreadable"] or f"Annotations/{stem}.xml is missing or not XML"}
            continue
        stated = (int(_number(tree, "size/height") or 0), int(_number(tree, "size/width") or 0))
        objects = [_raw_object(item, labels) for item in tree.iterfind("object")]
        yield make_row(folder, name, position, stated if all(stated) else None, objects)


def _raw_object(item: ElementTree.Element, labels: dict[str, int]) -> RawObject:
    xmin, ymin, xmax, ymax = (_number(item, f"bndbox/{name}", math.nan) for name in ("xmin", "ymin", "xmax", "ymax"))
    slip = xmax <= xmin or ymax <= ymin  # kept without an area, so that it does not pass as a box of one pixel
    box = (xmin, ymin, xmax, ymax) if slip else (xmin - 1, ymin - 1, xmax, ymax)
    name = _text(item, "name")
    area = (box[2] - box[0]) * (box[3] - box[1])
    return RawObject(box, name, labels.get(name), area, iscrowd=_number(item, "difficult") == 1)


def _parse(path: Path) -> ElementTree.Element | None:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None  # the row says so, and report_problems names it


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(element: ElementTree.Element, path: str, default: float = 0.0) -> float:
    try:
        return float(_text(element, path))
    except ValueError:
        return default
