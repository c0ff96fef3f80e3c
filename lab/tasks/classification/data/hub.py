"""Image datasets of the Hugging Face Hub by name, or such a dataset in a local folder, read by ``datasets``.

``hub_store`` finds the table and its columns; here its labels become classes, and its splits training and test set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import KW_ONLY, astuple, dataclass
from typing import Any

from lab.data.holdout import TEST, TRAIN, VAL, check_shares
from lab.data.images.annotations import build_table
from lab.data.images.class_names import clean_name
from lab.data.parts import Part
from lab.errors import ConfigError, DataError
from lab.ranges import Share, Word
from lab.tasks.classification.data.hub_store import HubPlace, HubStore, kind_of
from lab.tasks.classification.data.labelled import COLUMNS, LabelledImages, LabelledModule, LabelledTable
from lab.tasks.classification.data.unlabelled import PartlyLabelled


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
                f"data.path={place.dataset}: its column {store.label!r} ({kind_of(feature)}) has no labels: a class, a "
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
        is_apart = self.test not in (None, self.train)
        part = None if share is None else Part(TRAIN if split == TRAIN else VAL, share, 0.0, self.seed, is_apart)
        place = HubPlace(self.path, self.subset, own or self.train, self.image_column, self.label_column)
        table = hub_table(place, None if split == TRAIN else self.dataset(TRAIN).class_names)
        return self.labelled(table.part(part), self.reading(split))
