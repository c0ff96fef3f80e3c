"""Sessions: logs of anonymous visits, split by time; every next item of a later session is asked for.

The preprocessing is that of the authors of GRU4Rec for RSC15 (sessions of two events or more, items of five or more;
the last day is the test set, of which items unknown to the training are dropped), each number settable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from lab.errors import ConfigError, DataError
from lab.ranges import Count, Draws, Gt, Le, Positive, Probability, Seed, Word
from lab.structures import Table
from lab.tasks.recommendation.data.events import (
    Columns,
    Events,
    known_only,
    read_events,
    split_by_time,
    with_support,
    without_repeats,
)
from lab.tasks.recommendation.data.module import (
    Batching,
    RecommendationDataModule,
    Splits,
    Windows,
    add_step,
    number_items,
    share,
)
from lab.tasks.recommendation.data.sequences import Sequences

DAY = 86400.0


class SessionsDataModule(RecommendationDataModule):
    r"""``data=sessions``: a CSV, TSV or Parquet file with columns for session, item and time.

    Events of items that the training lacks are dropped from validation and test and counted in the table of steps, as
    published. They are not counted as misses: batches hold known items only, and a session of which one event or none
    is known has no row at all.

    Args:
        root: the dataset's folder.
        train_file: relative to ``root``. Without other files it is split by time.
        val_file: validation sessions; None cuts them from the end of the training.
        test_file: test sessions; None cuts them from the end of the training.
        session_column: name of the column of session ids.
        item_column: name of the column of item ids.
        time_column: name of the column of times.
        separator: between columns, taken as it is written; ``\s+`` is any run of blanks.
        column_names: the columns' names where the file has no header.
        time_format: ``"seconds"`` (or milli-, micro-, nanoseconds), ``"iso"`` or a pattern of ``strptime``.
        offset_column: name of a column of milliseconds that are added to the time.
        drop_duplicates: leave out rows that repeat another in session, item and time.
        min_length: fewest events of a session.
        min_support: fewest events of an item.
        fixpoint: filter until nothing changes; otherwise once, as published for RSC15.
        drop_repeats: drop an event that repeats the item before it.
        test_days: length of the test set, counted from the last event backwards; of the validation set too.
        split_by: a session belongs to the later part if its last event does (``"end"``) or its first (``"start"``).
        batch_size: see ``RecommendationDataModule``, as all that follow.
        num_workers: loader processes of each rank.
        seed: of the order and the negatives.
        batching: ``"sequences"`` or ``"lanes"``.
        max_length: the most events that are read.
        num_negatives: items that did not follow.
        negative_alpha: exponent of their support.
        windows: ``"last"`` or ``"all"``.
        encoding: of the text, as Python names it; None: UTF-8, or what a byte order mark says.
        quotes: whether ``"`` puts a value into quotes.
    """

    def __init__(
        self,
        root: Word,
        train_file: Word,
        val_file: Word | None = None,
        test_file: Word | None = None,
        session_column: Word = "session",
        item_column: Word = "item",
        time_column: Word = "time",
        separator: str = ",",
        column_names: Sequence[str] | None = None,
        time_format: str = "seconds",
        offset_column: str | None = None,
        drop_duplicates: bool = False,
        min_length: Positive = 2,
        min_support: Count = 5,
        fixpoint: bool = False,
        drop_repeats: bool = False,
        test_days: Annotated[float, Gt(0), Le(100000)] = 1.0,
        split_by: Literal["end", "start"] = "end",
        batch_size: Positive = 64,
        num_workers: Count = 0,
        seed: Seed = 0,
        batching: Batching = "sequences",
        max_length: Positive | None = None,
        num_negatives: Draws = 0,
        negative_alpha: Probability = 0.0,
        windows: Windows = "last",
        encoding: str | None = None,
        quotes: bool = True,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, batching, max_length, num_negatives, negative_alpha, windows)
        self.root = Path(root)
        self.files = {"train": train_file, "val": val_file, "test": test_file}
        self.columns = Columns(
            session_column,
            item_column,
            time_column,
            separator,
            column_names,
            time_format,
            offset_column,
            drop_duplicates,
            encoding,
            quotes,
        )
        self.min_length, self.min_support, self.fixpoint = min_length, min_support, fixpoint
        self.drop_repeats, self.test_days, self.split_by = drop_repeats, test_days, split_by

    def read_inputs(self, path: Path) -> Events:
        """Read a file of the same columns."""
        return read_events(path, self.columns)

    def read(self) -> Splits:
        """Read, filter and split."""
        steps: Table = []
        train = self._filtered(self.read_file(self.root / str(self.files["train"]), self.columns, steps), steps)
        val, test = self._read_other("val", train, steps), self._read_other("test", train, steps)
        if test is None:
            train, test = self._cut(train, "test", steps)
        if val is None:
            train, val = self._cut(train, "val", steps)
        total, parts = len(train) + len(val) + len(test), {}
        for name, part in (("val", val), ("test", test)):
            parts[name], unknown = known_only(part, train, max(2, self.min_length))
            if not len(parts[name]):
                raise DataError(f"data: no {name} session of two events whose items stand in the training data is left")
            notes = [f"{unknown} events of items that training lacks dropped"] if unknown else []
            add_step(steps, name, parts[name], "; ".join([*notes, share(parts[name], total)]))
        names, numbers = number_items(train)
        add_step(steps, "train", train)
        sequences = {name: Sequences.of_events(part, numbers) for name, part in parts.items()}
        return Splits(names, Sequences.of_events(train, numbers), sequences["val"], sequences["test"], steps=steps)

    def _filtered(self, events: Events, steps: Table) -> Events:
        if self.drop_repeats:
            before = len(events)
            events = without_repeats(events)
            add_step(steps, "without repeats", events, f"{before - len(events)} repeats dropped")
        events = with_support(events, self.min_length, self.min_support, self.fixpoint)
        how = "to a fixpoint" if self.fixpoint else "once"
        add_step(steps, "filtered", events, f"sessions >= {self.min_length}, items >= {self.min_support}, {how}")
        if not len(events):
            raise DataError(
                f"data: no event is left of sessions of at least {self.min_length} events (data.min_length) and items "
                f"of at least {self.min_support} (data.min_support)"
            )
        return events

    def _read_other(self, name: str, train: Events, steps: Table) -> Events | None:
        file = self.files[name]
        if file is None:
            return None
        events = self.read_file(self.root / file, self.columns, steps)
        if self.drop_repeats:
            events = without_repeats(events)
        numbers = {str(item): number for number, item in enumerate(train.item_names)}
        table = np.array([numbers.get(str(item), -1) for item in events.item_names], dtype=np.int64)
        known = table[events.items] >= 0
        dropped = int((~known).sum())
        events = events.keep(known)
        events.items, events.item_names = table[events.items], train.item_names
        if dropped:
            add_step(steps, f"{name}: known items", events, f"{dropped} events of items that training lacks dropped")
        return events

    def _cut(self, events: Events, name: str, steps: Table) -> tuple[Events, Events]:
        if self.test_days <= 0:
            raise ConfigError(f"data.test_days={self.test_days} must be above 0")
        before, after = split_by_time(events, self.test_days * DAY, self.split_by)
        if not len(before) or not len(after):
            days = (events.times.max() - events.times.min()) / DAY
            raise DataError(
                f"data: the last data.test_days={self.test_days} of {days:.3g} days leave nothing to train on or "
                f"to {name}"
            )
        add_step(
            steps, f"cut off: {name}", after, f"sessions whose {self.split_by} is in the last {self.test_days} days"
        )
        return before, after
