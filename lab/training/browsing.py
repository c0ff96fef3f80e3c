"""How data of one kind of problem is looked at: what a network is fed, drawn, and what the data holds, counted.

A kind's room has a ``browse.py`` with a subclass of ``Browser``, which its ``TaskSpec`` names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lab.report.duplicates import ContentIndex, NearIndex
from lab.report.pieces import MarkedPiece, draw_pieces
from lab.report.sanity import SplitLook

if TYPE_CHECKING:
    from PIL.Image import Image

    from lab.data.datamodule import DataModule
    from lab.training.task import Task


@dataclass(frozen=True)
class BrowseCard:
    """One sample of a batch as it is shown.

    Attributes:
        picture: what the network is fed, with what it is to learn.
        caption: a line on it.
        pieces: the same as text, for a page; empty where there is only a picture.
        wave: the sound as a WAVE file; empty where there is none.
    """

    picture: Image
    caption: str = ""
    pieces: tuple[MarkedPiece, ...] = ()
    wave: bytes = b""

    @classmethod
    def of_pieces(cls, pieces: Sequence[MarkedPiece], caption: str = "", width: int = 720) -> BrowseCard:
        """Return a card of pieces, which are drawn too."""
        return cls(draw_pieces(pieces, caption, width), caption, tuple(pieces))


@dataclass
class DataIndex:
    """What is compared between samples of all splits.

    Attributes:
        contents: their contents.
        near: images.
        labelled: whether samples were given with their labels.
    """

    contents: ContentIndex
    near: NearIndex
    labelled: bool = False

    def add(self, split: str, index: int, content: bytes, label: str | None = None, image: Image | None = None) -> None:
        """Add a sample: its decoded content, its annotation, and if it is an image its pixels."""
        self.labelled = self.labelled or label is not None
        key = self.contents.add(split, index, content, label or "")
        if image is not None:
            self.near.add(split, index, image, key)


NOT_IMAGES: Mapping[str, str] = {"near duplicates": "of images only"}
"""What kinds whose samples are no images skip."""


class Browser(ABC):
    """Draws and counts the samples of a DataModule; a subclass for each kind of problem.

    Args:
        data: has its plan.
        make_task: builds the task of the config on the CPU; only kinds whose network prepares its input call it.

    Attributes:
        unit: the word for what ``look`` reads.
        legend: what the marks of pieces mean, by mark.
        skipped: why a check of ``lab.report.sanity.CHECKS`` is not made for this kind.
        columns: cards in a row of a sheet; None: the sheet is about square.
    """

    unit: ClassVar[str] = "sample"
    legend: ClassVar[Mapping[str, str]] = {}
    skipped: ClassVar[Mapping[str, str]] = {}
    columns: ClassVar[int | None] = None

    def __init__(self, data: DataModule, make_task: Callable[[], Task]) -> None:
        self.data, self._make_task = data, make_task

    @cached_property
    def spec(self) -> Any:
        """The description of the data."""
        return self.data.spec

    @cached_property
    def task(self) -> Any:
        """The task of the config, built on first use, in training mode."""
        return self._make_task().train()

    @abstractmethod
    def cards(self, batch: Any, augmented: bool) -> Iterator[BrowseCard]:
        """Yield a card for each sample of a batch, those that only fill it up left out.

        Args:
            batch: of the loader.
            augmented: whether what the batch says is done with it on the device is done.
        """

    @abstractmethod
    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read samples of a split without augmentation, count what they hold, and yield after each.

        Args:
            look: takes the counts. ``look.read`` is counted by the caller.
            indices: the samples to read.
            index: takes the contents, to be compared.
        """

    def count(self, split: str) -> int:
        """Return how many samples ``look`` can read of a split."""
        return len(self.stored(split))

    def stored(self, split: str) -> Any:
        """Return the dataset of a split without augmentation, as it is stored."""
        return self.data.unaugmented(split, prepared=False)

    def name(self, split: str, index: int) -> str:
        """Return what a sample is called in messages."""
        return f"{split} {index}"


def spread_over(count: int, limit: int | None) -> list[int]:
    """Return at most ``limit`` indices below ``count``, in their order, spread over all of them."""
    if limit is None or count <= limit:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, limit).round().astype(np.int64)).tolist()


ROWS = "rows of the files that are left out"


def count_rows_left_out(looks: Sequence[SplitLook], reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Add what the readers of tables have left out to the findings of the first split: it is known for whole files.

    Args:
        looks: of all splits.
        reports: of ``DataModule.rows_read``; empty where no table was read.
    """
    first, *others = looks
    if not reports:
        for look in looks:
            look.skipped.setdefault("damaged", "no file of rows was read")
        return
    first.watch("damaged", ROWS)
    for name, report in reports.items():
        for what, count in report.get("odd", {}).items():
            first.watch("outliers", f"files that are {what}")
            first.find(f"files that are {what}", name, int(count))
        for what, count in report.get("left_out", {}).items():
            if count and not what.endswith("kept"):
                first.find(ROWS, f"{name}: {count} {what}", int(count))
    for look in others:
        look.skipped.setdefault("damaged", f"rows are counted for whole files, under {first.split}")
