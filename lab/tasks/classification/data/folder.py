"""A folder of images for each class, as torchvision's ``ImageFolder`` and ImageNet have them, or a zip of such."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lab.data.folders import as_utf8
from lab.data.images.annotations import build_table
from lab.data.images.dataset import Reading
from lab.data.images.module import SplitFilesModule
from lab.data.images.store import ImageStore
from lab.data.images.stores import open_store
from lab.data.parts import Part
from lab.errors import DataError
from lab.tasks.classification.data.labelled import COLUMNS, LabelledImages, LabelledModule, LabelledTable
from lab.tasks.classification.data.unlabelled import PartlyLabelled

HOW_TO_GET = "put a folder of images for each class there, or name another place by data.root, data.train.images"


def folder_table(root: str | Path, images: str, class_names: tuple[str, ...] | None = None) -> LabelledTable:
    """Return the images of a folder's subfolders, or of a zip's, each of which is a class.

    Args:
        root: the dataset's folder.
        images: the folder of classes, or a zip, relative to ``root``.
        class_names: those of the training set; None: the names of the subfolders, sorted.

    Raises:
        DataError: it is missing, has fewer than two classes, or one that is not among ``class_names``.
    """
    place = Path(root) / images
    store = open_store(place, root, HOW_TO_GET)
    names = class_folders(store, class_names)
    digest = hashlib.sha256(f"imagefolder-1:{names}".encode("utf-8", "surrogateescape"))
    store.add_to(digest)
    arguments = {"images": str(place.resolve()), "names": names, "key": digest.hexdigest()}
    return LabelledTable(build_table(read_rows, arguments, COLUMNS), store, names, digest.hexdigest())


def class_folders(store: ImageStore, known: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return the classes: those that are known, or the names of the folders, sorted.

    Args:
        store: the images.
        known: the classes of the training set.

    Raises:
        DataError: there are fewer than two classes, one that is not known, or no image.
    """
    found = tuple(store.folders())
    foreign = [] if known is None else [name for name in found if name not in known]
    if known is not None and foreign:
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise DataError(
            f"{store.place}: {', '.join(foreign[:5])}{more}: no such class in the training set, which has "
            f"{', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
        )
    if known is None and len(found) < 2:
        what = f"one folder, {found[0]!r}" if found else "no folder"
        raise DataError(f"{store.place}: there is {what} in it, and each class has a folder of its own, two at least")
    if not store.names():
        raise DataError(f"{store.place}: there is no image in the folders of its {len(found)} classes")
    return found if known is None else known


def label_of(name: str, labels: Mapping[str, int]) -> int | None:
    """Return the label of an image by its folder at the top; None if it lies in no class's folder."""
    return labels.get(name.split("/", 1)[0]) if "/" in name else None


def read_rows(images: str, names: tuple[str, ...], key: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each image; ``key`` only keeps cached tables apart."""
    del key
    labels = {name: label for label, name in enumerate(names)}
    store = open_store(Path(images), images, HOW_TO_GET)
    for number, name in enumerate(store.names()):
        label = label_of(name, labels)
        place, size, problem = store.look(name)
        unreadable = problem if label is not None else "in no class's folder"
        row = {"image_id": number, "file_name": as_utf8(place), "height": size[0], "width": size[1]}
        yield row | {"labels": [] if label is None else [label], "unreadable": unreadable}


@dataclass(eq=False)
class ImageFolderModule(LabelledModule, SplitFilesModule):
    """``data=imagefolder``: folders of classes (``images``), or zips of them, for each split below one root."""

    needed: ClassVar[tuple[str, ...]] = ("images",)

    def read(
        self, files: Mapping[str, str], reading: Reading[Any], part: Part | None
    ) -> LabelledImages | PartlyLabelled:
        """Return the dataset of a folder; its classes are those of the training set."""
        own = files == self.files["train"]
        names = None if own else self.dataset("train").class_names
        return self.labelled(folder_table(self.folder, files["images"], names).part(part), reading)

    def check_classes(self, dataset: Any, files: Mapping[str, str]) -> None:
        """Do nothing: classes that differ are refused where they are read."""
