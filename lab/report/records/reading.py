"""Reads many run directories quickly, one row each, without their whole config and metrics. No torch.

A run's directory may be damaged, or come from a stranger: nothing of it is executed, of each file a bounded part is
read, and what cannot be read stands in the row as its problem.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.errors import RunError
from lab.loggers.metrics_file import FILE_NAME
from lab.report.dates import seconds_of
from lab.report.records.peeking import last_of_metrics, names_of_config
from lab.report.shown import pick_metric, shared_words
from lab.run_directory import RunDirectory
from lab.run_name import SWEEPS
from lab.run_record import direction

DEPTH = 3
"""Folders below the given one in which runs are looked for."""


@dataclass(frozen=True)
class RunRow:
    """A run in a table of many.

    Attributes:
        name: the path of its directory below the folder that was read.
        path: its directory.
        state: that of run.json; ``stopped`` if it says running and no process holds the lock; ``damaged`` if run.json
            is missing or cannot be read.
        started: seconds since the epoch; None if not recorded.
        ended: the same of the end.
        step: the last optimizer step in metrics.csv; None if there is none.
        model: ``model.name`` of its config.
        data: ``data.name`` of its config.
        monitor: the metric by which it selects its best checkpoint, with its split: ``val/map``.
        val: the value of that metric in validation: that of best.ckpt; without a result that of the last validation.
        test: the value in the test.
        words: its overrides.
        differs: those of its overrides that not all runs of the table have.
        sweep: the name of the sweep that it is a job of; empty if it is none.
        result: its metrics, None where one is not defined.
        lower: the metrics of which a lower value is better.
        problem: what cannot be read, or the recorded error of a run that failed.
    """

    name: str
    path: Path
    state: str
    started: float | None = None
    ended: float | None = None
    step: int | None = None
    model: str = ""
    data: str = ""
    monitor: str = ""
    val: float | None = None
    test: float | None = None
    words: tuple[str, ...] = ()
    differs: str = ""
    sweep: str = ""
    result: Mapping[str, float | None] = field(default_factory=dict)
    lower: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True)
class Listing:
    """The runs below a folder.

    Attributes:
        folder: the folder.
        rows: the runs, by name.
        foreign: the folders that hold no run, by their path below ``folder``.
    """

    folder: Path
    rows: list[RunRow]
    foreign: list[str]


def read_listing(folder: Path, sweeps: Mapping[str, str] | None = None) -> Listing:
    """Read the runs in a folder and the folders below it, down to ``DEPTH``.

    Links to folders are read as runs if they lead to one, and not searched.

    Args:
        folder: ``paths.runs_dir``, or a folder of such.
        sweeps: the name of the sweep by the name of a run's directory.

    Raises:
        RunError: there is no such folder, or it cannot be read.
    """
    foreign: list[str] = []
    try:
        paths = list(_runs_below(folder, folder, DEPTH, foreign))
    except NotADirectoryError:
        raise RunError(f"{folder} is no folder; paths.runs_dir says where runs go") from None
    except FileNotFoundError:
        raise RunError(f"{folder}: no such folder; paths.runs_dir says where runs go") from None
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror})") from error
    rows = [read_row(path, folder, sweeps or {}) for path in paths]
    return Listing(folder, rows, sorted(foreign))


def read_row(path: Path, folder: Path, sweeps: Mapping[str, str]) -> RunRow:
    """Read one run's directory; see ``read_listing``."""
    directory = RunDirectory(path)
    record, problem = directory.record, ""
    state = directory.state
    if "state" not in record:
        state = "running" if state == "running" else "damaged"
        problem = f"run.json is {directory.damage or 'missing'}"
    elif record["state"] == "running" and state != "running":
        state = "stopped"
    elif directory.damage:
        problem = f"run.json is {directory.damage}"
    names, of_config = names_of_config(path / "config.yaml")
    result = {str(key): _value(value) for key, value in record.get("result", {}).items()}
    last, step = last_of_metrics(path / FILE_NAME, validation=not result)
    monitor = str(record.get("monitor") or "") or pick_metric(last, "")
    monitor = monitor if monitor.startswith("val/") else ""
    return RunRow(
        name=str(path.relative_to(folder)) if path != folder else path.resolve().name,
        path=path,
        state=state,
        started=seconds_of(record.get("started")),
        ended=seconds_of(record.get("ended")),
        step=step,
        model=names.get("model.name", ""),
        data=names.get("data.name", ""),
        monitor=monitor,
        val=result.get(monitor) if result else last.get(monitor),
        test=result.get(f"test/{monitor.removeprefix('val/')}"),
        words=tuple(record.get("overrides", ())),
        sweep=sweeps.get(path.name, ""),
        result=result,
        lower=frozenset(key for key in [*result, monitor] if key and direction(record, key) == "min"),
        problem=problem or of_config or str(record.get("error") or ""),
    )


def with_differences(rows: list[RunRow]) -> list[RunRow]:
    """Return the rows with the overrides in which they differ, without ``model`` and ``data``, which have columns.

    Nor are those of ``paths`` shown: where a run lies does not tell it from another.
    """
    shared = shared_words(list(row.words) for row in rows)
    found = []
    for row in rows:
        shown = {*shared, f"model={row.model}", f"data={row.data}"}
        own = [word for word in row.words if word not in shown and not word.startswith("paths.")]
        found.append(replace(row, differs=" ".join(own)))
    return found


def is_run(path: Path) -> bool:
    """Whether a folder has the files of a run's directory."""
    return any(os.path.lexists(path / name) for name in ("run.json", "config.yaml", "checkpoints"))


def _runs_below(folder: Path, top: Path, depth: int, foreign: list[str]) -> Iterator[Path]:
    """Yield the runs below a folder by name; note the folders in which there is none."""
    if folder == top and is_run(folder):
        yield folder
        return
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in found:
        path = folder / entry.name
        if not entry.is_dir():
            continue
        if is_run(path):
            yield path
        elif not (folder == top and entry.name == SWEEPS):
            below = list(_below(path, top, depth, foreign)) if not entry.is_symlink() and depth > 1 else []
            yield from below
            if not below:
                foreign.append(str(path.relative_to(top)))


def _below(folder: Path, top: Path, depth: int, foreign: list[str]) -> list[Path]:
    """Return the runs below a folder; if there is none, the folder is foreign as a whole."""
    within: list[str] = []
    try:
        found = list(_runs_below(folder, top, depth - 1, within))
    except OSError:  # one that may not be read counts as foreign
        return []
    foreign += within if found else []
    return found


def _value(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
