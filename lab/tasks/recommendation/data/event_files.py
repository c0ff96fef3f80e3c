"""The base of the DataModules that read files of events: the format of a file, and which of its events are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from lab.errors import DataError
from lab.ranges import Count, Positive, Word
from lab.structures import Table
from lab.tasks.recommendation.data.event_filters import with_support, without_repeats
from lab.tasks.recommendation.data.events import Columns, Events, read_events
from lab.tasks.recommendation.data.module import RecommendationDataModule, add_step


@dataclass(eq=False)
class EventFilesModule(RecommendationDataModule):
    r"""Base of the DataModules that read files of events: CSV, TSV or Parquet.

    Args:
        root: the dataset's folder.
        item_column: name of the column of item ids.
        time_column: name of the column of times; None if lines are in order of time.
        separator: the literal separator between columns; ``\s+`` is any run of blanks.
        column_names: the columns' names if the file has no header.
        time_format: ``"seconds"`` (or milli-, micro-, nanoseconds), ``"iso"`` or a pattern of ``strptime``.
        drop_duplicates: leave out rows that equal another row in all three columns.
        min_length: fewest events of a user or session.
        min_support: fewest events of an item.
        fixpoint: filter until nothing changes; otherwise once, as published for RSC15.
        drop_repeats: drop an event that repeats the item before it.
        encoding: Python's name of the text's encoding; None: UTF-8, or what a byte order mark says.
        quotes: whether values may be quoted with ``"``.
    """

    root: Word
    _: KW_ONLY
    item_column: Word = "item"
    time_column: Word | None = "time"
    separator: str = ","
    column_names: Sequence[str] | None = None
    time_format: str = "seconds"
    drop_duplicates: bool = False
    min_length: Positive = 1
    min_support: Count = 1
    fixpoint: bool = True
    drop_repeats: bool = False
    encoding: str | None = None
    quotes: bool = True

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return Path(self.root)

    def columns_for(self, who: str, offset: str | None = None) -> Columns:
        """Return the format of the files.

        Args:
            who: name of the column of users or sessions.
            offset: name of a column of milliseconds that are added to the time.

        Raises:
            ConfigError: the separator, the names or the format of the times are invalid.
        """
        return Columns(
            who,
            self.item_column,
            self.time_column,
            self.separator,
            self.column_names,
            self.time_format,
            offset,
            self.drop_duplicates,
            self.encoding,
            self.quotes,
        )

    @abstractmethod
    def columns_of(self, path: Path) -> Columns:
        """Return the format of a file."""

    def read_inputs(self, path: Path) -> Events:
        """Read a file with the same columns."""
        return read_events(path, self.columns_of(path))

    def kept(self, events: Events, steps: Table, who: str, filters: bool = True) -> Events:
        """Return the events of a file that are kept, and record the preprocessing steps.

        Args:
            events: all events.
            steps: the table of steps; rows are added to it.
            who: ``"users"`` or ``"sessions"``, for the notes.
            filters: whether to leave out short sequences and rare items.

        Raises:
            DataError: no event is left.
        """
        if self.drop_repeats:
            before = len(events)
            events = without_repeats(events)
            add_step(steps, "without repeats", events, f"{before - len(events)} repeats dropped")
        if not filters:
            return events
        events = with_support(events, self.min_length, self.min_support, self.fixpoint)
        how = "to a fixpoint" if self.fixpoint else "once"
        add_step(steps, "filtered", events, f"{who} >= {self.min_length}, items >= {self.min_support}, {how}")
        if not len(events):
            raise DataError(
                f"data: no event is left of {who} of at least {self.min_length} events (data.min_length) and items "
                f"of at least {self.min_support} (data.min_support)"
            )
        return events
