"""One split of an image dataset of the Hugging Face Hub, or of a local folder, as a store of images beside labels.

Only tables and images are read: no code of a dataset is run (``lab.data.hub``), and images are decoded by
``lab.data.images.opening``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.data.caches import contents
from lab.data.hub import load_splits
from lab.data.images.opening import ImageFileError, ImageSource
from lab.data.images.store import ImageStore
from lab.errors import DataError, closest

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE_NAMES = ("image", "img", "images", "jpg", "png", "picture")
LABEL_NAMES = ("label", "labels", "class", "target", "cls")
_ROW = "row "


@dataclass(frozen=True)
class HubPlace:
    """Which split of a dataset is read, and which of its columns.

    Attributes:
        dataset: its name at the Hub, or a folder.
        config: the configuration (subset) of it; None: its only one.
        split: as the dataset calls it.
        image: the column of images; None: found by its type.
        label: the column of labels; None: found by its type.
    """

    dataset: str
    config: str | None
    split: str
    image: str | None = None
    label: str | None = None

    def columns(self) -> tuple[Dataset, str, str]:
        """Return the split with its images undecoded, and the names of its two columns.

        Raises:
            DataError: there is no such split or column.
        """
        import datasets

        splits = load_splits(self.dataset, self.config)
        if self.split not in splits:
            raise DataError(
                f"data.path={self.dataset}: it has no split {self.split!r}, only {', '.join(splits)}"
                f"{closest(self.split, splits)}; data.train, data.val and data.test name the splits"
            )
        table = splits[self.split]
        image = _column(self, table, "image", self.image, datasets.Image, IMAGE_NAMES)
        label = _column(self, table, "label", self.label, datasets.ClassLabel, LABEL_NAMES)
        try:
            table = table.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))
        except (TypeError, ValueError, NotImplementedError) as error:  # pyarrow's errors are both of the latter
            raise DataError(
                f"data.path={self.dataset}: its column {image!r} holds {table.features[image]}, no images; name "
                "another by data.image_column"
            ) from error
        return table, image, label


def _column(place: HubPlace, table: Dataset, what: str, given: str | None, kind: type, usual: tuple[str, ...]) -> str:
    """Return the column that is given, the only one of the type, or else the one with a usual name.

    Raises:
        DataError: there is none, or which is meant is not clear.
    """
    names = list(table.column_names)
    listed = ", ".join(f"{name} ({kind_of(table.features[name])})" for name in names)
    if given is not None:
        if given not in names:
            raise DataError(
                f"data.{what}_column={given}: {place.dataset} has no such column but {listed}{closest(given, names)}"
            )
        return given
    typed = [name for name in names if isinstance(table.features[name], kind)]
    found = typed if len(typed) == 1 else [name for name in usual if name in (typed or names)][:1]
    if not found:
        state = "several columns" if typed else "no column"
        raise DataError(
            f"data.path={place.dataset}: it has {state} of {what}s; name one by data.{what}_column: {listed}"
        )
    return found[0]


def kind_of(feature: Any) -> str:
    """Return the type of a column in a word."""
    name = type(feature).__name__
    return str(feature.dtype) if name == "Value" else name


class HubStore(ImageStore):
    """The images of a column, by the number of their row; a row holds the content of a file, or the file's path.

    Args:
        place: which split and columns.
    """

    def __init__(self, place: HubPlace) -> None:
        self.table, self.image, self.label = place.columns()
        self.place = Path(place.dataset) / place.split

    def names(self) -> list[str]:
        """Return a name for each row."""
        return [f"{_ROW}{row}" for row in range(len(self.table))]

    def folders(self) -> list[str]:
        """Return nothing: there are no folders."""
        return []

    def add_to(self, digest: hashlib._Hash) -> None:
        """Add the files of the table to a hash, and the image files that it names."""
        import pyarrow.compute as pc

        column = self.table.data.column(self.image)
        inside = pc.struct_field(column, "bytes").is_valid()
        named = pc.filter(pc.struct_field(column, "path"), pc.invert(inside)).drop_null().unique().to_pylist()
        files = [entry["filename"] for entry in self.table.cache_files]
        paths = [Path(name).resolve() for name in (*files, *sorted(filter(None, named)))]
        sizes = [(str(path).lstrip("/"), path.stat().st_size if path.is_file() else -1) for path in paths]
        for content in contents(Path("/"), sizes):
            digest.update(f"{content}\n".encode())
        digest.update(f"{len(self.table)}\0{self.image}\0{self.label}\0{self.table.features}".encode())

    def source(self, name: str) -> ImageSource:
        """Return the content of an image, or its file.

        Raises:
            ImageFileError: the row holds none.
        """
        item = self.table[int(name.removeprefix(_ROW))][self.image]
        if item is None or (item["bytes"] is None and not item["path"]):
            raise ImageFileError("without an image")
        return Path(item["path"]) if item["bytes"] is None else item["bytes"]
