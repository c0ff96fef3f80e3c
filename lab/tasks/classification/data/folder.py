"""A folder of images for each class, as torchvision's ``ImageFolder`` and ImageNet have them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor

from lab.data.folders import as_utf8
from lab.data.images.annotations import build_table
from lab.data.images.dataset import READING, ImageDataset, Reading
from lab.data.images.module import SplitFilesModule
from lab.data.images.opening import ImageSource
from lab.data.images.store import ImageStore
from lab.data.images.stores import open_store
from lab.data.parts import Part
from lab.data.presence import ClassCounts
from lab.errors import DataError
from lab.ranges import Gt, Le, Len, Options, Pixels, Positive, Probability
from lab.structures import KeyedDataset
from lab.structures.classification import ClassificationBatch, ClassificationSample, ClassificationSpec
from lab.tasks.classification.data.augmentation import AugmentationOptions
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.files import ClassificationFolder
from lab.tasks.classification.data.moves import draw_moves
from lab.tasks.classification.data.preprocessing import Preprocessed
from lab.tasks.classification.data.transforms import EvalTransform, TrainTransform, as_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

HOW_TO_GET = "put a folder of images for each class there, or name another place by data.root, data.train.images"
COLUMNS = {
    "image_id": "int64",
    "file_name": "string",
    "height": "int32",
    "width": "int32",
    "labels": "[int64]",
    "unreadable": "string",
}


@dataclass(frozen=True)
class WindowOptions(AugmentationOptions):
    """The numbers of ``TrainTransform``, and the chance of a flip.

    Attributes:
        area: smallest and largest share of the image that a window takes.
        ratio: smallest and largest width / height of a window.
        flip: chance to mirror an image.
    """

    area: Annotated[Sequence[Annotated[float, Gt(0), Le(1)]], Len(2, 2)] = (0.08, 1.0)
    ratio: Annotated[Sequence[Annotated[float, Gt(0), Le(100)]], Len(2, 2)] = (3 / 4, 4 / 3)
    flip: Probability = 0.5


class FolderClassification(ImageDataset[ClassificationSample, Any]):
    """The images of a folder's subfolders, each of which is a class.

    Args:
        root: the dataset's folder.
        images: the folder of classes, relative to ``root``.
        class_names: those of the training set; None: the names of the subfolders, sorted.
        reading: how images are read.
        part: the part of the images to take; None takes them all.
        augmentation: what is drawn for an image in training.

    Raises:
        DataError: the folder is missing, has fewer than two classes, or one that is not among ``class_names``.
    """

    fixed_size = True

    def __init__(
        self,
        root: str | Path,
        images: str,
        class_names: tuple[str, ...] | None = None,
        reading: Reading[Any] = READING,
        part: Part | None = None,
        augmentation: WindowOptions | None = None,
    ) -> None:
        folder = Path(root) / images
        self._store = open_store(folder, root, HOW_TO_GET)
        names = class_folders(self._store, class_names)
        digest = hashlib.sha256(f"imagefolder-1:{names}".encode("utf-8", "surrogateescape"))
        self._store.add_to(digest)
        arguments = {"images": str(folder.resolve()), "names": names, "key": digest.hexdigest()}
        table = build_table(read_rows, arguments, COLUMNS)
        self._fingerprint, self.augmentation = digest.hexdigest(), augmentation
        if part is not None:
            table, self._fingerprint = part.of(table, self._fingerprint, str(folder))
        super().__init__(table, folder, names, reading, str(folder))

    def fingerprint(self) -> str:
        """Return the hash of the names and contents of the images."""
        return self._fingerprint

    def class_counts(self) -> ClassCounts:
        """Return the usable images of each class."""
        labels = self._table.select_columns(["labels"])[:]["labels"]
        counts = Counter(labels[row][0] for row in self._rows)
        return ClassCounts(tuple(counts[label] for label in range(len(self.class_names))), "image")

    def _source_of(self, row: dict[str, Any]) -> ImageSource:
        return self._store.source(row["file_name"])

    def _sample(self, row: dict[str, Any], image: Image | Tensor, generator: torch.Generator) -> ClassificationSample:
        options = self.augmentation if self.reading.train else None
        moves = None if options is None else draw_moves(options.flip, 0, generator)
        transform = self.reading.transform
        pixels = as_tensor(image) if transform is None else transform(image, generator)
        drawn = None if options is None else options.draw(pixels.shape[1:], generator)
        size = (row["height"], row["width"])
        return ClassificationSample(pixels, row["labels"][0], row["image_id"], size, moves, drawn)


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
class ImageFolderModule(Preprocessed, SplitFilesModule):
    """``data=imagefolder``: folders of classes (``images``) for each split below one root.

    Args:
        image_size: the side of the square samples.
        crop_share: share of the shorter side that evaluation takes the middle of: 0.875 is 224 of 256.
        augmentation: other numbers for ``WindowOptions``, by name.
    """

    task = "classification"

    _: KW_ONLY
    batch_size: Positive = 64
    image_size: Pixels = 224
    crop_share: Annotated[float, Gt(0), Le(1)] = 0.875
    augmentation: Annotated[Mapping[str, Any] | None, Options(WindowOptions)] = None

    needed = ("images",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.window = WindowOptions.from_options(self.augmentation)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, image_size, image_size)."""
        return (3, self.image_size, self.image_size)

    @property
    def shorter_side(self) -> int:
        """To which evaluation resizes before it takes the middle."""
        return max(self.image_size, int(self.image_size / self.crop_share))

    @property
    def spec(self) -> ClassificationSpec:
        """The classes, how many images of each there are to train on, and how images are resized."""
        train = self.dataset("train")
        return ClassificationSpec(
            class_names=train.class_names,
            input_shape=self.input_shape,
            class_counts=train.class_counts().counts,
            resize=self.shorter_side,
            interpolation=self.interpolation,
            mean=tuple(self.mean),
            std=tuple(self.std),
        )

    def transform(self, train: bool) -> TrainTransform | EvalTransform:
        """Return the transform of training or evaluation."""
        size = (self.image_size, self.image_size)
        if not train:
            return self._evaluation(size)
        return TrainTransform(size, self.window.area, self.window.ratio, self.interpolation)

    def _evaluation(self, size: tuple[int, int]) -> EvalTransform:
        return EvalTransform(size, self.shorter_side, self.interpolation)

    def read(self, files: Mapping[str, str], reading: Reading[Any], part: Part | None) -> FolderClassification:
        """Return the dataset of a folder; its classes are those of the training set."""
        own = files == self.files["train"]
        names = None if own else self.dataset("train").class_names
        return FolderClassification(self.folder, files["images"], names, reading, part, self.window)

    def check_classes(self, dataset: Any, files: Mapping[str, str]) -> None:
        """Do nothing: classes that differ are refused where they are read."""

    def collate(self, samples: Sequence[Any]) -> ClassificationBatch:
        """Put samples together into a batch."""
        return collate_classification(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files prepared as in evaluation."""
        return ClassificationFolder(paths, self._evaluation((self.image_size, self.image_size)))
