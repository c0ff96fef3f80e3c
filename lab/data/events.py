"""Logs of events (who, what, when): read from text or Parquet files, checked, counted, in numpy arrays.

Files go through Hugging Face ``datasets``, whose cache holds the parsed table for as long as the file is the same. Ids
are kept as text: predictions come back as the user's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.errors import DataError, closest

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """How a file of events is written.

    Attributes:
        session: name of the column that says who: a session or a user.
        item: name of the column that says what.
        time: name of the column that says when; None where the order of the lines is the order in time.
        separator: between columns, of one or more characters.
        names: the columns' names, where the file has no header.
        time_format: ``"seconds"`` or ``"milliseconds"`` since 1970, ``"iso"``, or a pattern of ``strptime``.
        offset: name of a column of milliseconds that are added to the time.
        drop_duplicates: leave out rows that repeat another in session, item and time; otherwise they are counted only.
    """

    session: str
    item: str
    time: str | None
    separator: str = ","
    names: Sequence[str] | None = None
    time_format: str = "seconds"
    offset: str | None = None
    drop_duplicates: bool = False


@dataclass
class Events:
    """E events, in order of sessions and time.

    Attributes:
        sessions: (E,) int64, the number of each event's session, 0 to S - 1 in order of their first event's time.
        items: (E,) int64, an index into ``item_names``.
        times: (E,) float64 seconds, or the number of the line.
        session_names: the user's own id of each session.
        item_names: the user's own id of each item, 0 to I - 1.
        left_out: how many rows were left out, by reason.
    """

    sessions: Ints
    items: Ints
    times: NDArray[np.float64]
    session_names: NDArray[np.object_]
    item_names: NDArray[np.object_]
    left_out: dict[str, int]

    def __len__(self) -> int:
        """Return E."""
        return len(self.sessions)

    def keep(self, chosen: NDArray[np.bool_]) -> Events:
        """Return some of the events; the names stay."""
        return Events(
            self.sessions[chosen],
            self.items[chosen],
            self.times[chosen],
            self.session_names,
            self.item_names,
            self.left_out,
        )

    def count(self) -> dict[str, int]:
        """Return how many sessions, events and items there are."""
        return {
            "sessions": len(np.unique(self.sessions)),
            "events": len(self),
            "items": len(np.unique(self.items)),
        }


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_events(path: Path, columns: Columns, where: str = "data") -> Events:
    """Read a file of events.

    Rows with an empty id or a time that cannot be read are left out and counted.

    Args:
        path: a text file, or one of Parquet (``.parquet``).
        columns: how it is written.
        where: what the columns are named by in messages.

    Raises:
        DataError: the file is missing, is none of events, lacks a column, or nothing of it can be used.
    """
    if not path.is_file() or not path.stat().st_size:
        raise DataError(f"{path}: {'is empty' if path.is_file() else 'no such file'}")
    table = _read_table(path, columns)
    found = list(table.columns)
    wanted = {"session": columns.session, "item": columns.item, "time": columns.time, "offset": columns.offset}
    for key, name in wanted.items():
        if name is not None and name not in found:
            raise DataError(
                f"{path}: there is no column {name!r}{closest(name, found)}; it has {', '.join(map(str, found))}; "
                f"name yours by {where}.{key}_column, and {where}.separator if it is not {columns.separator!r}"
            )
    left_out = {}
    table = table[[name for name in wanted.values() if name is not None]]
    before = len(table)
    ids = [columns.session, columns.item]
    empty = table[ids].isna().any(axis=1) | (table[ids] == "").any(axis=1)
    table = table[~empty]
    left_out["without an id"] = int(empty.sum())
    times = (
        _times(table[columns.time], columns.time_format) if columns.time else np.arange(len(table), dtype=np.float64)
    )
    if columns.offset:
        times = times + _times(table[columns.offset], "milliseconds")
    readable = np.isfinite(times)
    left_out["with a time that cannot be read"] = int((~readable).sum())
    table, times = table[readable], times[readable]
    if columns.time:
        repeated = table.duplicated().to_numpy()
        left_out[f"that repeat another{'' if columns.drop_duplicates else ', kept'}"] = int(repeated.sum())
        if columns.drop_duplicates:
            table, times = table[~repeated], times[~repeated]
    if not len(table):
        reasons = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        raise DataError(f"{path}: none of its {before} rows can be used: {reasons}")
    return _arrange(table[columns.session], table[columns.item], times, left_out)


def _read_table(path: Path, columns: Columns) -> Any:
    """Return the table as pandas, all values text."""
    import datasets
    import pandas
    import pyarrow

    show = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if path.suffix.lower() == ".parquet":
            rows = datasets.Dataset.from_parquet(str(path)).data.table
            # as text before pandas, which makes floats of whole numbers among which one is missing
            table = pyarrow.table({name: rows[name].cast(pyarrow.string()) for name in rows.column_names}).to_pandas()
        else:
            options: dict[str, Any] = {"sep": columns.separator, "keep_default_na": False}
            if columns.names is not None:
                options |= {"names": list(columns.names), "header": None}
            if len(columns.separator) > 1:
                options["engine"] = "python"
            names = pandas.read_csv(path, nrows=0, **options).columns
            text = datasets.Features({str(name): datasets.Value("string") for name in names})
            table = datasets.Dataset.from_csv(str(path), features=text, **options).to_pandas()
    except Exception as error:
        cause = error.__cause__ or error
        first = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise DataError(f"{path}: cannot be read as a table of events: {first}") from error
    finally:
        if show:
            datasets.enable_progress_bars()
    return table


def _times(column: Any, kind: str) -> NDArray[np.float64]:
    """Return seconds, NaN where a time cannot be read."""
    import pandas

    if kind in ("seconds", "milliseconds"):
        scale = 1.0 if kind == "seconds" else 1e-3
        values: NDArray[np.float64] = pandas.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64) * scale
        return values
    options: dict[str, Any] = {"format": "ISO8601"} if kind == "iso" else {"format": kind}
    stamps = pandas.to_datetime(column, errors="coerce", utc=True, **options)
    seconds = stamps.to_numpy(dtype="datetime64[ns]").astype(np.int64) / 1e9
    return np.where(stamps.isna().to_numpy(), np.nan, seconds)


def _arrange(sessions: Any, items: Any, times: NDArray[np.float64], left_out: dict[str, int]) -> Events:
    """Number sessions by their first event's time and items by their names' order; sort events."""
    import pandas

    session_codes, session_names = pandas.factorize(sessions)
    item_codes, item_names = pandas.factorize(items, sort=True)
    first = np.full(len(session_names), np.inf)
    np.minimum.at(first, session_codes, times)
    rank = np.empty(len(first), dtype=np.int64)
    by_time = np.argsort(first, kind="stable")
    rank[by_time] = np.arange(len(first))
    session_codes = rank[session_codes]
    order = np.lexsort((times, session_codes))
    return Events(
        session_codes[order],
        item_codes[order].astype(np.int64),
        times[order],
        np.asarray(session_names, dtype=object)[by_time],
        np.asarray(item_names, dtype=object),
        left_out,
    )


def without_repeats(events: Events) -> Events:
    """Return the events without those whose item is that of the event before in the same session."""
    same = (np.diff(events.items, prepend=-1) == 0) & (np.diff(events.sessions, prepend=-1) == 0)
    return events.keep(~same)


def with_support(events: Events, min_length: int, min_support: int, fixpoint: bool) -> Events:
    """Return events of sessions of some length and items of some support.

    Sessions that are too short go first, then items that are too rare, then sessions that are now too short: once, as
    the preprocessing of RSC15 does, or until nothing changes.

    Args:
        events: all of them.
        min_length: fewest events of a session.
        min_support: fewest events of an item.
        fixpoint: repeat until nothing changes.
    """
    events = _long_enough(events, min_length)
    while True:
        before = len(events)
        counts = np.bincount(events.items, minlength=len(events.item_names))
        events = _long_enough(events.keep(counts[events.items] >= min_support), min_length)
        if not fixpoint or len(events) == before:
            return events


def _long_enough(events: Events, min_length: int) -> Events:
    counts = np.bincount(events.sessions, minlength=len(events.session_names))
    return events.keep(counts[events.sessions] >= min_length)


def split_by_time(events: Events, window: float, by: str) -> tuple[Events, Events]:
    """Return the sessions before the last ``window`` seconds and those in it.

    Args:
        events: all of them.
        window: seconds before the last event.
        by: ``"end"``: a session is in the window if its last event is; ``"start"``: if its first is.
    """
    times = np.full(len(events.session_names), -np.inf if by == "end" else np.inf)
    (np.maximum if by == "end" else np.minimum).at(times, events.sessions, events.times)
    late = times[events.sessions] >= events.times.max() - window
    return events.keep(~late), events.keep(late)


def known_only(events: Events, train: Events, min_length: int) -> tuple[Events, int]:
    """Return the events whose item stands in the training data, and how many did not; short sessions go."""
    known = np.zeros(len(train.item_names), dtype=np.bool_)
    known[train.items] = True
    left = events.keep(known[events.items])
    return _long_enough(left, min_length), len(events) - len(left)


def translate(events: Events, names: Mapping[str, int]) -> Events:
    """Return the events with other numbers for items; items without one become -1.

    Args:
        events: with names of their own.
        names: the number of each known item.
    """
    table = np.array([names.get(str(name), -1) for name in events.item_names], dtype=np.int64)
    known = np.array(list(names), dtype=object)
    return Events(
        events.sessions, table[events.items], events.times, events.session_names, known, dict(events.left_out)
    )
