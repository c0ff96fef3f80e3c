"""Logs of events (who, what, when): read from text or Parquet files into numpy arrays, checked and counted.

Files are not cached: reading them again with Arrow was faster than any cache. Ids are kept as text, so that predictions
have the ids of the user's files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.checking import check_file
from lab.config.separators import normalize_separator
from lab.data.tables.columns import TextLayout
from lab.data.tables.ids import encode
from lab.data.tables.opening import PARQUET, first_bytes
from lab.data.tables.parquet import read_parquet
from lab.data.tables.text import read_text
from lab.data.tables.times import check_time_format, odd_times, seconds_of, span
from lab.errors import ConfigError, DataError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    r"""The format of a file of events.

    Attributes:
        session: name of the column of sessions or users.
        item: name of the column of items.
        time: name of the column of times; None if lines are in order of time.
        separator: the literal separator between columns, one or more characters; ``\s+`` is any run of blanks.
        names: the columns' names, if the file has no header.
        time_format: ``"seconds"``, ``"milliseconds"``, ``"microseconds"`` or ``"nanoseconds"`` since 1970, ``"iso"``,
            or a pattern of ``strptime``.
        offset: name of a column of milliseconds that are added to the time.
        drop_duplicates: leave out rows that equal another row in session, item and time; otherwise they are only
            counted.
        encoding: Python's name of the text's encoding; None: UTF-8, or what a byte order mark says.
        quotes: whether values may be quoted with ``"``.
    """

    session: str
    item: str
    time: str | None
    separator: str = ","
    names: Sequence[str] | None = None
    time_format: str = "seconds"
    offset: str | None = None
    drop_duplicates: bool = False
    encoding: str | None = None
    quotes: bool = True

    def __post_init__(self) -> None:
        """Check the separator and the format of the times."""
        object.__setattr__(self, "separator", normalize_separator(self.separator))
        check_time_format(self.time_format)
        if isinstance(self.names, str) or (self.names is not None and not self.names):
            raise ConfigError(f"data.column_names={self.names!r}: a list of names, [user,item,time] for instance")

    @property
    def wanted(self) -> dict[str, str]:
        """The columns' names by their role: session, item, time."""
        named = {"session": self.session, "item": self.item, "time": self.time, "offset": self.offset}
        return {key: str(name) for key, name in named.items() if name is not None}

    @property
    def layout(self) -> TextLayout:
        """The format of the text."""
        names = None if self.names is None else [str(name) for name in self.names]
        return TextLayout(self.separator, names, self.encoding, self.quotes)


@dataclass
class Events:
    """E events, ordered by session and time.

    Attributes:
        sessions: (E,) int64, the number of each event's session, 0 to S - 1 in order of their first event's time.
        items: (E,) int64, an index into ``item_names``.
        times: (E,) float64 seconds, or the number of the line.
        session_names: the id of each session in the file.
        item_names: the id of each item in the file, 0 to I - 1.
        left_out: the number of rows that were left out, by reason; rows under a reason that ends with "kept" were kept.
        rows: the number of rows in the file.
        noted: remarks on rows that were kept, each with a count.
    """

    sessions: Ints
    items: Ints
    times: NDArray[np.float64]
    session_names: NDArray[np.object_]
    item_names: NDArray[np.object_]
    left_out: dict[str, int]
    rows: int = 0
    noted: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return E."""
        return len(self.sessions)

    def keep(self, chosen: NDArray[np.bool_]) -> Events:
        """Return some of the events; the names do not change."""
        return replace(
            self, sessions=self.sessions[chosen], items=self.items[chosen], times=self.times[chosen], noted=self.noted
        )

    def count(self) -> dict[str, int]:
        """Return the numbers of sessions, events and items."""
        return {
            "sessions": len(np.unique(self.sessions)),
            "events": len(self),
            "items": len(np.unique(self.items)),
        }

    def report(self) -> dict[str, Any]:
        """Return what became of the rows of the file: rows, used, left_out, noted."""
        left_out = {what: count for what, count in self.left_out.items() if count}
        return {"rows": self.rows, "used": len(self), "left_out": left_out, "noted": dict(self.noted)}

    def span(self) -> str:
        """Return the dates of the first and the last event."""
        return span(float(self.times.min()), float(self.times.max()))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_events(path: Path, columns: Columns, where: str = "data") -> Events:
    """Read a file of events.

    Rows without an id, with an unreadable time, or with another number of columns are left out and counted.

    Args:
        path: a text file, compressed or not, or a Parquet file.
        columns: the format of the file.
        where: the config group that names the columns, for messages.

    Raises:
        DataError: the file is missing, is not a table, lacks a column, or none of its rows can be used.
    """
    check_file(path, may_be_empty=False)
    if path.suffix.lower() == ".parquet" or first_bytes(path).startswith(PARQUET):
        read = read_parquet(path, columns.wanted, where)
    else:
        read = read_text(path, columns.wanted, columns.layout, where)
    table, noted = read.table, read.noted
    left_out = {"without an id": 0, "with a time that cannot be read": 0}
    session_codes, session_names = encode(table["session"], "session", left_out, noted)
    item_codes, item_names = encode(table["item"], "item", left_out, noted)
    left_out["without an id"] = int(((session_codes == -1) | (item_codes == -1)).sum())
    named = (session_codes >= 0) & (item_codes >= 0)
    headers = _of_name(session_codes, session_names, columns.session) & _of_name(item_codes, item_names, columns.item)
    if headers.any():  # several files with headers were concatenated
        left_out["that repeat the header"] = int((headers & named).sum())
        named &= ~headers
    times = np.arange(len(named), dtype=np.float64)
    if columns.time:
        times = seconds_of(table["time"], columns.time_format)
    if columns.offset:
        times = times + seconds_of(table["offset"], "milliseconds")
    readable = np.isfinite(times)
    left_out["with a time that cannot be read"] = int((named & ~readable).sum())
    unread = _example(table, named & ~readable) if columns.time else ""
    kept = named & readable
    session_codes, item_codes, times = session_codes[kept], item_codes[kept], times[kept]
    if columns.time:
        repeated = _repeated(session_codes, item_codes, times)
        left_out[f"that repeat another{'' if columns.drop_duplicates else ', kept'}"] = int(repeated.sum())
        if columns.drop_duplicates:
            session_codes, item_codes, times = session_codes[~repeated], item_codes[~repeated], times[~repeated]
    left_out |= read.left_out
    if not len(times):
        reasons = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        raise DataError(f"{path}: none of its {read.rows} rows can be used: {reasons}{unread}")
    if columns.time:
        noted |= odd_times(times, columns.time_format, path, where)
    events = _arrange(session_codes, session_names, item_codes, item_names, times, len(kept))
    return replace(events, left_out=left_out, rows=read.rows, noted=noted)


def _of_name(codes: Ints, names: NDArray[np.object_], name: str) -> NDArray[np.bool_]:
    """Return which rows have an id."""
    found = np.flatnonzero(names == name)
    return codes == found[0] if len(found) else np.zeros(len(codes), dtype=np.bool_)


def _example(table: Any, chosen: NDArray[np.bool_]) -> str:
    """Return the first time that could not be read, for a message."""
    row = int(chosen.argmax())
    return f" (such as {str(table['time'][row].as_py())[:40]!r}; see data.time_format)" if chosen[row] else ""


def _repeated(sessions: Ints, items: Ints, times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which events repeat an earlier one; only rows with equal hashes are compared."""
    import pandas

    pairs = sessions * (items.max(initial=0) + 1) + items
    mixed = pairs.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ (times + 0.0).view(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    ordered = np.sort(mixed)
    found = ordered[1:][ordered[1:] == ordered[:-1]]
    repeated = np.zeros(len(pairs), dtype=np.bool_)
    if len(found):
        suspects = np.flatnonzero(pandas.Series(mixed).isin(found))
        table = pandas.DataFrame({"pair": pairs[suspects], "time": times[suspects]})
        repeated[suspects[table.duplicated().to_numpy()]] = True
    return repeated


def _arrange(
    sessions: Ints,
    session_names: NDArray[np.object_],
    items: Ints,
    item_names: NDArray[np.object_],
    times: NDArray[np.float64],
    rows: int,
) -> Events:
    """Number sessions by the time of their first event and items by the order of their names; sort events."""
    import pandas

    # sessions were numbered in order of appearance; if some have lost all or their first rows, they are renumbered
    session_codes, present = sessions, np.arange(len(session_names))
    if len(sessions) < rows:
        session_codes, present = pandas.factorize(sessions)
    first = np.full(len(present), np.inf)
    np.minimum.at(first, session_codes, times)
    rank = np.empty(len(first), dtype=np.int64)
    by_time = np.argsort(first, kind="stable")
    rank[by_time] = np.arange(len(first))
    session_codes = rank[session_codes]
    shown = np.flatnonzero(np.bincount(items, minlength=len(item_names)))
    shown = shown[np.argsort(item_names[shown], kind="stable")]
    numbers = np.zeros(len(item_names), dtype=np.int64)
    numbers[shown] = np.arange(len(shown))
    step = np.diff(session_codes)
    if (step < 0).any() or ((step == 0) & (np.diff(times) < 0)).any():
        order = np.lexsort((times, session_codes))
        session_codes, items, times = session_codes[order], items[order], times[order]
    return Events(session_codes, numbers[items], times, session_names[present][by_time], item_names[shown], {})
