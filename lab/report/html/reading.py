"""Reads a run's directory as a row of a page, with its curves. No torch."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.errors import RunError
from lab.loggers.metrics_file import FILE_NAME, LEADING
from lab.report.dates import seconds_of
from lab.report.html.page import Entry, Series, ShownValue
from lab.report.runs import Run
from lab.run_lock import is_locked
from lab.text import one_line

if TYPE_CHECKING:
    import pandas as pd

RATE = "train/samples_per_s"


@dataclass
class RunReader:
    """Reads runs, and each again only when one of its files has changed: a live page asks every few seconds."""

    _known: dict[Path, tuple[tuple[Any, ...], Run, Entry]] = field(default_factory=dict)

    def read(self, path: Path) -> tuple[Run, Entry] | None:
        """Return a run and its row; None if there is no run's directory (yet)."""
        mark = _mark(path)
        known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1], known[2]
        try:
            run = Run(path)
        except RunError:
            return None
        self._known[path] = mark, run, entry_of(run)
        return self._known[path][1:]


def entry_of(run: Run) -> Entry:
    """Return a run as a row; the parameters in which runs differ are filled in by who compares them."""
    record = run.record
    batch = run.config.get("data.batch_size") if run.config else None
    batch = batch if isinstance(batch, int) and batch > 0 else None
    series = series_of(run.metrics)
    return Entry(
        name=run.name,
        label=run.name,
        path=run.path,
        state=run.state,
        result={key: None if math.isnan(value) else value for key, value in run.result.items()},
        series=series,
        clock=_clock(series.get(RATE), batch),
        batch_size=batch,
        words=run.words,
        command=repeat_command(record),
        monitor=str(record.get("monitor") or ""),
        lower=tuple(record.get("lower_is_better") or ()),
        started=seconds_of(record.get("started")),
        ended=seconds_of(record.get("ended")),
        problem=one_line(record.get("error") or record.get("problem") or ""),
        damage=run.problems,
    )


def series_of(metrics: pd.DataFrame) -> dict[str, Series]:
    """Return the curve of each metric, with the steps at which it was logged and defined; none if it never was."""
    steps = metrics["step"].to_numpy(dtype=np.float64)
    found: dict[str, Series] = {}
    for name in metrics.columns:
        if name in LEADING:
            continue
        values = metrics[name].to_numpy(dtype=np.float64)
        there = ~np.isnan(values)
        if there.any():
            found[name] = Series(steps[there], values[there])
    return found


def scalar(value: Any) -> ShownValue:
    """Return a value of a config as one that can be sorted: a number for text that is one."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


def repeat_command(record: Mapping[str, Any]) -> str:
    """Return the command that repeats a run; its words are quoted as a shell wants them."""
    words = record.get("overrides")
    if not words:
        return "python run.py" if record else ""
    folders = [word for folder in record.get("config_dirs") or () for word in ("--config-dir", folder)]
    return " ".join(["python run.py", *map(shlex.quote, [*folders, *words])])


def _clock(rates: Series | None, batch: int | None) -> Series | None:
    """Return the seconds of training by step, from the samples a second of each part of it."""
    if rates is None or batch is None:
        return None
    usable = rates.values > 0
    if not usable.any():
        return None
    steps, values = rates.steps[usable], rates.values[usable]
    seconds = np.cumsum(np.diff(steps, prepend=0.0) * batch / values)
    return Series(np.concatenate([[0.0], steps]), np.concatenate([[0.0], seconds]))


def _mark(path: Path) -> tuple[Any, ...]:
    """Return what changes when a run's files do, or when its process dies."""
    found: list[Any] = [is_locked(path)]
    names = [".", "run.json", "config.yaml", FILE_NAME, "checkpoints", "run.lock", "pictures", "tables"]
    # Evaluations have folders of their own, whose files come one after the other.
    with contextlib.suppress(OSError), os.scandir(path) as inside:
        folders = sorted(entry.name for entry in inside if entry.is_dir())
        names += [f"{folder}/{name}" for folder in folders for name in ("result.json", "pictures", "tables")]
    for name in names:
        try:
            status = (path / name).stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)
