"""The table of ``lab runs``: which runs, in which order, on a terminal, as JSON or as CSV. No torch."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from lab.errors import ConfigError, closest
from lab.report.dates import age
from lab.report.plain import plain
from lab.report.records.reading import Listing, RunRow
from lab.report.tables import as_text, one_row
from lab.run_record import STATES
from lab.text import one_line, printable

ALL_STATES = (*STATES, "stopped", "damaged")
FIXED = ("age", "name", "state", "step")
"""Keys to sort by that are no metrics; ``age`` has the youngest first."""
_NARROW = 110
"""Columns of a terminal below which model and data are not shown: the name has them too."""
_MOST_NAMED = 5
_COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "diverged": "red", "damaged": "red"}


def chosen(rows: Iterable[RunRow], words: Sequence[str], states: Sequence[str] = ()) -> list[RunRow]:
    """Return the runs in one of the states that have every word in name, model, data, state, sweep or overrides.

    Args:
        rows: the runs.
        words: parts of these texts; upper and lower case are the same.
        states: of ``ALL_STATES``; all if there are none.

    Raises:
        ConfigError: there is no such state.
    """
    for state in states:
        if state not in ALL_STATES:
            raise ConfigError(f"--state {state}: there are {', '.join(ALL_STATES)}{closest(state, ALL_STATES)}")
    asked = [word.casefold() for word in words]
    found = []
    for row in rows:
        texts = [text.casefold() for text in (row.name, row.model, row.data, row.state, row.sweep, *row.words)]
        if (not states or row.state in states) and all(any(word in text for text in texts) for word in asked):
            found.append(row)
    return found


def in_order(rows: Sequence[RunRow], key: str) -> list[RunRow]:
    """Return the runs in an order: of a metric the best first, runs without it last.

    Args:
        rows: the runs.
        key: one of ``FIXED``, or a metric: ``test/map``; ``map`` is ``val/map``.

    Raises:
        ConfigError: no run has this metric, or runs do not agree on its direction.
    """
    if key == "name" or key == "state":
        return sorted(rows, key=lambda row: (row.state if key == "state" else "", row.name))
    if key == "age":
        return sorted(rows, key=lambda row: (row.started is None, -(row.started or 0.0), row.name))
    if key == "step":
        return sorted(rows, key=lambda row: (row.step is None, -(row.step or 0), row.name))
    metric = key if "/" in key else f"val/{key}"
    having = [row for row in rows if value_of(row, metric) is not None]
    known = {name for row in rows for name, value in row.result.items() if value is not None}
    known |= {row.monitor for row in rows if row.val is not None}
    if not having:
        near = closest(metric, sorted(known)) or f"; their metrics are {', '.join(sorted(known)[:8]) or 'none yet'}"
        raise ConfigError(f"--sort {key}: none of these runs has {metric}, and {', '.join(FIXED)} it is not{near}")
    directions = {metric in row.lower for row in having}
    if len(directions) > 1:
        raise ConfigError(f"--sort {key}: of {metric} lower is better in some of these runs and worse in others")
    sign = 1 if directions.pop() else -1
    return sorted(rows, key=lambda row: _rank(value_of(row, metric), sign, row.name))


def value_of(row: RunRow, metric: str) -> float | None:
    """Return a metric of a run's result, or of its last validation if it is the one shown."""
    return row.result.get(metric, row.val if metric == row.monitor else None)


def _rank(value: float | None, sign: int, name: str) -> tuple[bool, float, str]:
    return value is None, 0.0 if value is None else sign * value, name


def print_listing(
    listing: Listing, rows: Sequence[RunRow], shown: Sequence[RunRow], unread: Sequence[str] = ()
) -> None:
    """Print a table of runs and what it leaves out; to a file or pipe as lines without colours, never cut.

    Args:
        listing: all that was read.
        rows: the runs that were asked for.
        shown: those of them that the table has room for.
        unread: the sweeps that cannot be read.
    """
    console = Console(highlight=False)
    notes = [*_notes(listing, rows, shown), *_named("sweep cannot be read", "sweeps cannot be read", unread)]
    if not console.is_terminal:
        write_out("\n".join([*(_lines(_columns(shown)) if shown else ()), *notes]))
        return
    if shown:
        console.print(_table(shown, console.width < _NARROW))
    for line in notes:
        console.print(Text(line), soft_wrap=True)


def _columns(rows: Sequence[RunRow]) -> dict[str, list[str]]:
    """Return the cells of the table by the names of its columns."""
    monitors = {row.monitor for row in rows if row.monitor}
    single = monitors.pop() if len(monitors) == 1 else ""
    metric = single.removeprefix("val/")
    now = time.time()
    columns = {
        "name": [row.name for row in rows],
        "state": [row.state for row in rows],
        "age": [age(None if row.started is None else now - row.started) for row in rows],
        "step": ["-" if row.step is None else str(row.step) for row in rows],
        "model": [row.model for row in rows],
        "data": [row.data for row in rows],
        **({} if single else {"metric": [row.monitor.removeprefix("val/") for row in rows]}),
        f"val/{metric}" if single else "val": [_number(row.val) for row in rows],
        f"test/{metric}" if single else "test": [_number(row.test) for row in rows],
        "differs": [row.differs or row.problem for row in rows],
        "sweep": [row.sweep for row in rows],
    }
    return columns if any(columns["sweep"]) else {key: cells for key, cells in columns.items() if key != "sweep"}


def _is_right(name: str) -> bool:
    return name.partition("/")[0] in ("step", "val", "test")


def _lines(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the table as lines, each column as wide as its widest cell."""
    padded = []
    for name, cells in columns.items():
        texts = [one_line(text) for text in (name, *cells)]
        width = max(map(len, texts))
        padded.append([text.rjust(width) if _is_right(name) else text.ljust(width) for text in texts])
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _table(rows: Sequence[RunRow], narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = _columns(rows)
    styles = {"state": [_COLOURS.get(row.state, "") for row in rows]}
    for name in [name for name in columns if name.startswith("val")]:
        styles[name] = ["" if row.result else "dim" for row in rows]
    kept = [name for name in columns if not (narrow and name in ("model", "data"))]
    for name in kept:
        justify: JustifyMethod = "right" if _is_right(name) else "left"
        # Where there is no room the columns that may wrap become narrower; their cells are cut, not wrapped.
        table.add_column(as_text(name), justify=justify, no_wrap=name not in ("differs", "sweep"))
    for place in range(len(rows)):
        table.add_row(*(one_row(columns[name][place], styles[name][place] if name in styles else "") for name in kept))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3e}"


def _notes(listing: Listing, rows: Sequence[RunRow], shown: Sequence[RunRow]) -> list[str]:
    counts = Counter(row.state for row in rows)
    states = ", ".join(f"{counts[state]} {state}" for state in ALL_STATES if counts[state])
    among = f" of {len(listing.rows)}" if len(rows) < len(listing.rows) else ""
    place = printable(listing.folder)
    found = [f"{len(rows)}{among} {_runs(len(listing.rows))} in {place}{': ' if states else ''}{states}"]
    if len(shown) < len(rows):
        left = len(rows) - len(shown)
        found.append(f"{left} more {'is' if left == 1 else 'are'} not shown (--limit)")
    unread = [row for row in listing.rows if row.problem and row.state != "failed"]
    found += _named(
        "run cannot be read completely",
        "runs cannot be read completely",
        [f"{row.name} ({row.problem})" for row in unread],
    )
    found += _named("folder holds no run", "folders hold no run", listing.foreign)
    return found


def _named(one: str, several: str, names: Sequence[str]) -> list[str]:
    """Return a line with the number of things and the first few."""
    if not names:
        return []
    listed = ", ".join(one_line(name)[:160] for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"{len(names)} {one if len(names) == 1 else several}: {listed}{more}"]


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def as_json(listing: Listing, rows: Sequence[RunRow]) -> str:
    """Return the runs as JSON; null stands for a metric that is not defined."""
    now = time.time()
    found: dict[str, Any] = {"folder": str(listing.folder), "foreign": listing.foreign, "runs": []}
    for row in rows:
        entry = {name: getattr(row, name) for name in _FIELDS}
        entry |= {"path": str(row.path), "age_s": None if row.started is None else round(now - row.started)}
        entry |= {"overrides": list(row.words), "lower_is_better": sorted(row.lower), "result": dict(row.result)}
        found["runs"].append(entry)
    return json.dumps(plain(found), indent=2, allow_nan=False)


_FIELDS = (
    *("name", "state", "started", "ended", "step", "model", "data", "monitor", "val", "test"),
    *("differs", "sweep", "problem"),
)


def as_csv(rows: Sequence[RunRow]) -> str:
    """Return the runs as CSV: a column for each metric of any of them, an empty cell where one has none."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.result if "per_class" not in name))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, *map(printable, metrics)])
    for row in rows:
        cells = [getattr(row, name) for name in _FIELDS] + [row.result.get(name) for name in metrics]
        writer.writerow(["" if cell is None else printable(cell) for cell in cells])
    return text.getvalue()


def write_out(text: str) -> None:
    """Write text to stdout at once, so that a reader that has gone is noticed here."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()
