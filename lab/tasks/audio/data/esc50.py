"""``data=esc50``: environmental sounds of 50 classes in five folds (Piczak, ACM Multimedia 2015)."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from lab.data.holdout import TEST, TRAIN, VAL
from lab.data.text_files import read_text
from lab.errors import ConfigError, DataError
from lab.ranges import Ge, Le
from lab.tasks.audio.data.clips import Clip, ClipList
from lab.tasks.audio.data.files import SoundFilesModule

Fold = Annotated[int, Ge(1), Le(5)]


@dataclass(eq=False)
class ESC50Module(SoundFilesModule):
    """``data=esc50``: recordings of five seconds.

    Args:
        test_fold: the fold to test on; its authors report the mean over all five.
        val_fold: the fold to validate on; None: ``val_share`` of the training clips.
        esc10: take the ten classes of ESC-10 alone.

    Raises:
        ConfigError: both folds are one.
    """

    _: KW_ONLY
    test_fold: Fold = 5
    val_fold: Fold | None = None
    esc10: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_fold == self.test_fold:
            raise ConfigError(f"data.val_fold={self.val_fold} is data.test_fold; take another one")

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        needed = ("filename", "fold", "target", "category", "esc10")
        rows = read_rows(self.folder / "meta" / "esc50.csv", needed)
        return [row for row in rows if not self.esc10 or row["esc10"].lower() == "true"]

    def names(self) -> tuple[str, ...]:
        """Return the categories in the order of their numbers."""
        return tuple(dict(sorted((int(row["target"]), row["category"]) for row in self._rows)).values())

    def listed(self, split: str) -> ClipList | None:
        """Return the clips of a split's folds."""
        if split == VAL and self.val_fold is None:
            return None
        test, val = {self.test_fold}, {self.val_fold}
        train = {fold for fold in range(1, 6) if fold not in test | val}
        folds: Mapping[str, Collection[int | None]] = {TEST: test, VAL: val, TRAIN: train}
        chosen = [Clip(row["filename"], (row["category"],)) for row in self._rows if int(row["fold"]) in folds[split]]
        return ClipList(self.folder / "audio", str(self.folder), chosen)


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header.

    Args:
        path: the file.
        needed: columns that it must have; those of whole numbers are ``fold``, ``target`` and ``index``.

    Raises:
        DataError: it is not there, or lacks a column or a number.
    """
    rows = list(csv.DictReader(read_text(path).splitlines()))
    lacking = [name for name in needed if not rows or rows[0].get(name) is None]
    if lacking:
        raise DataError(f"{path}: it has no column {lacking[0]!r}; its header must name {', '.join(needed)}")
    for number, row in enumerate(rows, start=2):
        for name in needed:
            value = row[name]
            if value is None or (name in ("fold", "target", "index") and not value.isdecimal()):
                raise DataError(f"{path}, line {number}: {name} is {value!r}")
    return rows
