"""Image datasets of the Hugging Face Hub by name, or such a dataset in a local folder, read by ``datasets``.

Only tables and images are read: no code of a dataset is run, and images are decoded by ``lab.data.images.opening``.
What was downloaded once is read from the cache of ``datasets`` without a network.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import KW_ONLY, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.data.caches import cache_folder, contents
from lab.data.holdout import TEST, TRAIN, VAL, check_shares
from lab.data.images.annotations import build_table
from lab.data.images.class_names import clean_name
from lab.data.images.opening import ImageFileError, ImageSource
from lab.data.images.store import ImageStore
from lab.data.parts import Part
from lab.errors import ConfigError, DataError, closest
from lab.ranges import Share, Word
from lab.tasks.classification.data.labelled import COLUMNS, LabelledImages, LabelledModule, LabelledTable
from lab.tasks.classification.data.unlabelled import PartlyLabelled

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

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

        splits = load(self.dataset, self.config)
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


def load(dataset: str, config: str | None) -> DatasetDict:
    """Return the splits of a dataset; nothing that it brings is run.

    Raises:
        DataError: it cannot be had, or read.
    """
    import datasets

    local = Path(dataset).expanduser()
    if not local.exists() and (dataset.startswith((".", "/", "~")) or dataset.count("/") > 1):
        raise DataError(f"data.path={dataset}: there is no such folder, and a name at the Hub is OWNER/NAME")
    cache_folder()
    show = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            found = datasets.load_from_disk(str(local))
        else:
            never = {"trust_remote_code": False} if _could_run_code(datasets.load_dataset) else {}
            found = datasets.load_dataset(str(local) if local.exists() else dataset, config, **never)
    except (OSError, ValueError, TypeError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"data.path={dataset}: {_why(error)}") from error
    finally:
        if show:
            datasets.enable_progress_bars()
    return found if isinstance(found, datasets.DatasetDict) else datasets.DatasetDict({"train": found})


def _could_run_code(function: Any) -> bool:
    """Whether this version of ``datasets`` (before 4) can run a dataset's own script."""
    return "trust_remote_code" in inspect.signature(function).parameters


def _why(error: BaseException) -> str:
    """Return the reason of an error of ``datasets`` in one line, the innermost that says something."""
    import datasets

    if isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) or "offline" in text.lower() or "Couldn't reach" in text:
        return f"it is not in the cache, and the Hub cannot be reached ({text[:160]})"
    return f"it cannot be read: {text[:300] or type(error).__name__}"


def _column(place: HubPlace, table: Dataset, what: str, given: str | None, kind: type, usual: tuple[str, ...]) -> str:
    """Return the column that is given, the only one of the type, or else the one with a usual name.

    Raises:
        DataError: there is none, or which is meant is not clear.
    """
    names = list(table.column_names)
    listed = ", ".join(f"{name} ({_kind(table.features[name])})" for name in names)
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


def _kind(feature: Any) -> str:
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


def class_names(store: HubStore, place: HubPlace) -> tuple[str, ...]:
    """Return the classes of a split: those of its type, or the texts or numbers of its labels.

    Raises:
        DataError: labels are of another type, or there are fewer than two classes.
    """
    import datasets

    feature = store.table.features[store.label]
    if isinstance(feature, datasets.ClassLabel) and feature.names:
        found = [clean_name(name) for name in feature.names]
    else:
        values = [value for value in store.table.unique(store.label) if value is not None]
        if all(isinstance(value, str) for value in values):
            found = sorted(values)
        elif all(isinstance(value, int) for value in values):
            most = max((int(value) for value in values), default=0)
            found = [str(label) for label in range(most + 1)] if most < len(store.table) else []
        else:
            found = []
        if not found:
            raise DataError(
                f"data.path={place.dataset}: its column {store.label!r} ({_kind(feature)}) has no labels: a class, a "
                "text or a number from 0 for each image; name another by data.label_column"
            )
    if len(found) < 2:
        raise DataError(f"data.path={place.dataset}: all images are of one class, {found[0]!r}")
    if len(set(found)) < len(found):
        raise DataError(f"data.path={place.dataset}: two classes of {store.label!r} have the same name")
    return tuple(found)


def hub_table(place: HubPlace, known: tuple[str, ...] | None = None) -> LabelledTable:
    """Return the labelled images of a split.

    Args:
        place: which.
        known: the classes of the training set; None: the split's own.

    Raises:
        DataError: it cannot be read, or has another class than the training set.
    """
    store = HubStore(place)
    own = class_names(store, place) if known is None or _named(store) else known
    foreign = [name for name in own if known is not None and name not in known]
    if known is not None and foreign:
        more = " ..." if len(foreign) > 5 else ""
        raise DataError(
            f"{store.place}: {', '.join(foreign[:5])}{more}: no such class in the training set, which has "
            f"{', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
        )
    names = known or own
    if not len(store.table):
        raise DataError(f"{store.place}: there is no row in it")
    digest = hashlib.sha256(f"hub-1:{names}".encode("utf-8", "surrogateescape"))
    store.add_to(digest)
    arguments = {"place": astuple(place), "names": names, "key": digest.hexdigest()}  # lists would be taken for shards
    return LabelledTable(build_table(read_rows, arguments, COLUMNS), store, names, digest.hexdigest())


def _named(store: HubStore) -> bool:
    """Whether labels are told by names; numbers mean the classes of the training set."""
    feature = store.table.features[store.label]
    return bool(getattr(feature, "names", None)) or getattr(feature, "dtype", "") in ("string", "large_string")


def read_rows(place: tuple[Any, ...], names: tuple[str, ...], key: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each image; ``key`` only keeps cached tables apart."""
    del key
    store = HubStore(HubPlace(*place))
    own = getattr(store.table.features[store.label], "names", None)
    labels = {name: label for label, name in enumerate(names)}
    for number, (name, value) in enumerate(zip(store.names(), store.table[store.label][:], strict=True)):
        label, problem = _label(value, own, labels)
        _, size, unreadable = store.look(name)
        row = {"image_id": number, "file_name": name, "height": size[0], "width": size[1]}
        yield row | {"labels": [] if label is None else [label], "unreadable": problem or unreadable}


def _label(value: Any, own: list[str] | None, labels: dict[str, int]) -> tuple[int | None, str]:
    """Return the label among those of the training set that a value stands for, and why it has none or ``""``."""
    if value is None:
        return None, "without a label"
    if own and isinstance(value, int):
        if not 0 <= value < len(own):
            return None, f"its label is {value}, of no class"
        value = clean_name(own[value])
    label = labels.get(str(value) if isinstance(value, str) else str(int(value)))
    return label, "" if label is not None else f"its label is {value}, of no class"


@dataclass(eq=False)
class HubModule(LabelledModule):
    """``data=hub``: an image dataset by its name at the Hugging Face Hub, or in a folder.

    Args:
        path: its name (``OWNER/NAME``), or a folder that ``datasets`` can read: parquet files, an image folder with
            or without ``metadata.csv``, what ``save_to_disk`` wrote.
        subset: the configuration of it; None: its only one.
        train: the split to train on.
        val: the split that validates; None: ``val_share`` of the training set.
        test: the split to test on; None: the validation set.
        image_column: the column of images; None: the only one of that type.
        label_column: the column of labels; None: the only one of that type, or one called ``label``.
        val_share: share of the training set to hold out for validation, balanced by class.

    Raises:
        ConfigError: both or neither of ``val`` and ``val_share`` are given.
    """

    path: Word
    _: KW_ONLY
    subset: Word | None = None
    train: Word = "train"
    val: Word | None = None
    test: Word | None = "test"
    image_column: Word | None = None
    label_column: Word | None = None
    val_share: Share | None = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(self.val_share, None)
        if (self.val is None) == (self.val_share is None):
            raise ConfigError(
                f"data.val={self.val} and data.val_share={self.val_share}: name the split that validates, or give the "
                "share of the training set to hold out, and set the other to null"
            )

    def build(self, split: str) -> LabelledImages | PartlyLabelled:
        """Return the dataset of a split.

        Raises:
            DataError: it cannot be had, or its classes are not those of the training set.
        """
        own = {TRAIN: self.train, VAL: self.val, TEST: self.test if self.test is not None else self.val}[split]
        share = self.val_share if own in (None, self.train) else None
        part = None if share is None else Part(TRAIN if split == TRAIN else VAL, share, 0.0, self.seed)
        place = HubPlace(self.path, self.subset, own or self.train, self.image_column, self.label_column)
        table = hub_table(place, None if split == TRAIN else self.dataset(TRAIN).class_names)
        return self.labelled(table.part(part), self.reading(split))
