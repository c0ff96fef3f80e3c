"""Images with several labels: a folder (or zip) of images, and a table of their labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lab.data.folders import as_utf8
from lab.data.images.annotations import build_table, tell_once
from lab.data.images.dataset import Reading
from lab.data.images.fingerprint import add_file, require_file
from lab.data.images.stores import open_store
from lab.data.parts import Part
from lab.data.presence import ClassCounts
from lab.errors import ConfigError, DataError
from lab.ranges import Word
from lab.structures.classification import ClassificationSample, ClassificationSpec
from lab.tasks.classification.data.folder import ImageFolderModule
from lab.tasks.classification.data.label_table import LabelFormat, Labels, read_labels
from lab.tasks.classification.data.labelled import COLUMNS, LabelledImages, LabelledTable

if TYPE_CHECKING:
    from PIL.Image import Image

HOW_TO_GET = "put the images and a table of their labels there, or name others by data.train.images, data.train.labels"


class MultilabelImages(LabelledImages):
    """Images with any number of classes each; see ``LabelledImages``."""

    def class_counts(self) -> ClassCounts:
        """Return the usable images of each class."""
        labels = self._table.select_columns(["labels"])[:]["labels"]
        counts = Counter(label for row in self._rows for label in labels[row])
        return ClassCounts(tuple(counts[label] for label in range(len(self.class_names))), "image")

    def _sample(self, row: dict[str, Any], image: Image | Tensor, generator: torch.Generator) -> ClassificationSample:
        sample = super()._sample({**row, "labels": [-1]}, image, generator)
        shares = torch.zeros(len(self.class_names))
        shares[torch.tensor(row["labels"], dtype=torch.int64)] = 1.0
        return replace(sample, shares=shares)


def multilabel_table(
    root: str | Path, files: Mapping[str, str], layout: LabelFormat, class_names: tuple[str, ...] | None = None
) -> LabelledTable:
    """Return the images that a table names, with their labels; the others are left out, and their number is said.

    Args:
        root: the dataset's folder.
        files: ``images`` and ``labels``, relative to ``root``.
        layout: the format of the table.
        class_names: those of the training set, or given ones; None: those of the table.

    Raises:
        DataError: something is missing or cannot be read, or a label is not among ``class_names``.
    """
    folder = Path(root) / files["images"]
    place = require_file(Path(root) / files["labels"], root, HOW_TO_GET)
    store = open_store(folder, root, HOW_TO_GET)
    labels = read_labels(place, layout)
    names = known_classes(labels, class_names, place)
    digest = hashlib.sha256(f"multilabel-1:{names}:{layout}".encode("utf-8", "surrogateescape"))
    add_file(digest, place)
    store.add_to(digest)
    arguments = {
        "images": str(folder.resolve()),
        "table": str(place.resolve()),
        "layout": astuple(layout),
        "names": names,
        "key": digest.hexdigest(),
    }
    _say(labels, place, len(set(store.names()) - labels.of.keys()))
    return LabelledTable(build_table(read_rows, arguments, COLUMNS), store, names, digest.hexdigest())


def _say(labels: Labels, place: Path, unused: int) -> None:
    notes = [f"{count} rows {reason} were left out" for reason, count in labels.left_out.items()]
    notes += [f"{unused} images of the folder have no row and are left out"] if unused else []
    notes += [f"{empty} images have no label"] if (empty := sum(not own for own in labels.of.values())) else []
    if notes:
        tell_once(f"{place}: {'; '.join(notes)}")


def known_classes(labels: Labels, known: tuple[str, ...] | None, place: Path) -> tuple[str, ...]:
    """Return the classes: those that are known, or those of the table.

    Raises:
        DataError: there are fewer than two, or a label is not known.
    """
    if known is None:
        if len(labels.classes) < 2:
            raise DataError(
                f"{place}: its labels are {', '.join(labels.classes) or 'all empty'}: two classes at least are needed; "
                "is data.label_separator right?"
            )
        return labels.classes
    used = {name for own in labels.of.values() for name in own}
    foreign = sorted(used - set(known))
    if foreign:
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise DataError(
            f"{place}: {', '.join(foreign[:5])}{more}: no such class in the training set, which has "
            f"{', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
        )
    return known


def read_rows(
    images: str, table: str, layout: tuple[str, str, str, str], names: tuple[str, ...], key: str
) -> Iterator[dict[str, Any]]:
    """Yield a row for each image of the table; ``key`` only keeps cached tables apart."""
    del key
    numbers = {name: number for number, name in enumerate(names)}
    store, labels = open_store(Path(images), images, HOW_TO_GET), read_labels(Path(table), LabelFormat(*layout))
    present = set(store.names())
    for number, (name, own) in enumerate(labels.of.items()):
        place, size, problem = store.look(name) if name in present else (as_utf8(name), (0, 0), "the file is missing")
        row = {"image_id": number, "file_name": place, "height": size[0], "width": size[1], "unreadable": problem}
        yield row | {"labels": sorted(numbers[label] for label in own)}


@dataclass(eq=False)
class MultilabelModule(ImageFolderModule):
    """``data=multilabel``: folders of images (``images``) and tables (``labels``) for each split below one root.

    Args:
        file_column: the column of file names, relative to the folder of images.
        labels_column: the column of labels; where a table lacks it, every other column is a class and holds 0 or 1.
        label_separator: between the labels of an image.
        separator: between the columns of a text table.
        class_names: the order of the classes; None: that of the columns, or sorted names.

    Raises:
        ConfigError: both separators are the same, or an option is for images of one class each.
    """

    _: KW_ONLY
    file_column: Word = "file"
    labels_column: Word = "labels"
    label_separator: Word = "|"
    separator: Word = ","
    class_names: Sequence[Word] | None = None

    needed: ClassVar[tuple[str, ...]] = ("images", "labels")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_names is not None and len(set(self.class_names)) != len(self.class_names):
            raise ConfigError("data.class_names: a name stands in it twice")
        for key, off in (("class_balanced", False), ("imbalance", None), ("num_labels", None), ("unlabelled", 0)):
            if getattr(self, key) != off:
                raise ConfigError(
                    f"data.{key}={getattr(self, key)} is for one label an image; "
                    "model.learning.positive_weights=balanced weighs rare labels"
                )
        self.layout = LabelFormat(self.file_column, self.labels_column, self.label_separator, self.separator)

    @property
    def spec(self) -> ClassificationSpec:
        """The classes, how many images of each there are to train on, and how images are resized."""
        return replace(super().spec, multilabel=True, num_images=len(self.dataset("train")))

    def read(self, files: Mapping[str, str], reading: Reading[Any], part: Part | None) -> MultilabelImages:
        """Return the dataset of a table; its classes are those of the training set."""
        names = None if self.class_names is None else tuple(self.class_names)
        if files != self.files["train"]:
            names = self.dataset("train").class_names
        table = multilabel_table(self.folder, files, self.layout, names)
        return MultilabelImages(table.part(part), reading, self.window)
