"""Sessions: logs of anonymous visits, split by time; every next item of the later sessions is predicted.

The preprocessing is that of GRU4Rec's authors for RSC15: sessions with at least two events, items with at least five;
the last day is the test set, without items that the training does not have. Each of these numbers is an option.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from lab.checking import check_range
from lab.errors import DataError
from lab.ranges import Count, Gt, Le, Positive, Word
from lab.structures import Table
from lab.tasks.recommendation.data.event_files import EventFilesModule
from lab.tasks.recommendation.data.event_filters import known_only, split_by_time, without_repeats
from lab.tasks.recommendation.data.events import Columns, Events
from lab.tasks.recommendation.data.module import Splits, add_step, number_items, share
from lab.tasks.recommendation.data.sequences import Sequences

DAY = 86400.0


@dataclass(eq=False)
class SessionsDataModule(EventFilesModule):
    """``data=sessions``: a CSV, TSV or Parquet file with columns for session, item and time.

    Events of items that are not in the training data are dropped from validation and test, as published, and counted in
    the table of steps. They do not count as misses: batches hold only known items, and a session with fewer than two
    known items has no row.

    Args:
        train_file: relative to ``root``. Without other files it is split by time.
        val_file: validation sessions; None cuts them off the end of the training data.
        test_file: test sessions; None cuts them off the end of the training data.
        session_column: name of the column of session ids.
        time_column: name of the column of times.
        offset_column: name of a column of milliseconds that are added to the time.
        test_days: length of the test set in days, counted backwards from the last event; also of the validation set.
        split_by: a session belongs to the later part if its last event does (``"end"``) or its first (``"start"``).
    """

    train_file: Word
    _: KW_ONLY
    val_file: Word | None = None
    test_file: Word | None = None
    session_column: Word = "session"
    time_column: Word = "time"
    offset_column: str | None = None
    min_length: Positive = 2
    min_support: Count = 5
    fixpoint: bool = False
    test_days: Annotated[float, Gt(0), Le(100000)] = 1.0
    split_by: Literal["end", "start"] = "end"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = self.columns_for(self.session_column, self.offset_column)

    def columns_of(self, path: Path) -> Columns:
        """Return the format of a file."""
        return self.columns

    def read(self) -> Splits:
        """Read, filter and split."""
        steps: Table = []
        train = self.kept(self.read_file(self.folder / self.train_file, self.columns, steps), steps, "sessions")
        val = self._read_other("val", self.val_file, train, steps)
        test = self._read_other("test", self.test_file, train, steps)
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

    def _read_other(self, name: str, file: str | None, train: Events, steps: Table) -> Events | None:
        if file is None:
            return None
        events = self.read_file(self.folder / file, self.columns, steps)
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
        check_range("data.test_days", self.test_days, above=0)
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
