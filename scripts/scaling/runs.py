"""``lab runs`` and ``lab report`` by the number of runs of a sweep."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

from scaling.directories import write_sweep
from scaling.points import Study, Values, apart, seconds

import lab
from lab.cli.report import run_report
from lab.cli.runs import run_runs
from lab.errors import LabError

ROWS = 200
"""Of each run's metrics.csv."""


def quiet(command: str, words: list[str]) -> Values:
    """Return the processor seconds of a command, without the start of Python."""
    call = {"runs": run_runs, "report": run_report}[command]

    def work() -> None:
        with redirect_stdout(io.StringIO()):
            call(words)

    return {"s": seconds(work, rounds=0)}


def measured(command: str, words: list[str], name: str) -> Values:
    """Return time and memory of a command in a process of its own."""
    values, problem = apart(partial(quiet, command, words))
    if problem:
        raise LabError(f"lab {command}: {problem}")
    return {f"{name}, s": values["s"], f"{name}, MiB": values["memory, MiB"]}


def measure(count: int, scratch: Path) -> Values:
    """Measure a sweep of ``count`` runs with 200 rows each."""
    folder = scratch / "runs" / "sweeps" / "sweep"
    config = lab.compose().to_yaml()
    write_sweep(folder, config, count, ROWS)
    found = measured("runs", [str(scratch / "runs")], "lab runs")
    page = scratch / "report.html"
    found |= measured("report", [str(folder), "--out", str(page)], "lab report SWEEP")
    return found | {"page, MiB": page.stat().st_size / 2**20}


STUDIES = [Study(f"sweep, {ROWS} rows a run", "runs", (20, 200, 2_000), (2, 4), measure)]
