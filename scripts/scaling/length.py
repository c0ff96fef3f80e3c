"""What a long run costs to read, to continue and to hand over: metrics.csv by its rows."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from itertools import islice
from pathlib import Path

from scaling.directories import write_run
from scaling.points import Study, Values, apart, seconds
from scaling.runs import measured

import lab
from lab.data.sampler import TrainBatches
from lab.errors import LabError
from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.wandb_run import WandbRun

SAMPLES, BATCH = 100_000, 32
HANDED = 20_000
"""The most rows that are handed to W&B."""


def resume(run: Path, rows: int) -> Values:
    """Cut metrics.csv back by one row, as a resume from the last checkpoint does."""
    metrics = MetricsCSV(run)
    return {"s": seconds(lambda: metrics.cut_back(rows - 1), rounds=0)}


def late(run: Path, rows: int) -> Values:
    """Log a value of a step that is in the file already, as a test at the end does."""
    metrics = MetricsCSV(run)
    return {"s": seconds(lambda: metrics.log_metrics({"test/map": 0.5}, rows - 1), rounds=0)}


def hand_over(run: Path, rows: int) -> Values:
    """Hand all rows to a W&B run that is offline, as after a kill before its first one."""
    tracker = WandbRun(run, mode="offline")

    def work() -> None:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it says where the run is recorded
            tracker.log_metrics({"train/loss": 1.0}, rows + 1)
            tracker.finalize("success")

    return {"s": seconds(work, rounds=0)}


def batches(rows: int) -> Values:
    """Find the first batch of a training that continues at the last step."""
    stream = TrainBatches(SAMPLES, BATCH, 0, rows + 1, start_step=rows)
    return {"s": seconds(lambda: list(islice(iter(stream), 1)), rounds=0)}


def measure(rows: int, scratch: Path) -> Values:
    """Measure a run of ``rows`` logged steps."""
    run = scratch / "runs" / "run"
    write_run(run, lab.compose().to_yaml(), rows)
    found: Values = {"metrics.csv, MiB": (run / "metrics.csv").stat().st_size / 2**20}
    found |= measured("runs", [str(scratch / "runs")], "lab runs")
    found |= measured("report", [str(run), "--out", str(scratch / "report.html")], "lab report RUN")
    found["page, MiB"] = (scratch / "report.html").stat().st_size / 2**20
    tasks = {
        "data position": partial(batches, rows),
        "late value": partial(late, run, rows),
        "resume: metrics": partial(resume, run, rows),
    }
    if rows <= HANDED:
        tasks["W&B offline: hand-over"] = partial(hand_over, run, rows)
    for name, work in tasks.items():
        values, problem = apart(work)
        if problem:
            raise LabError(f"{name}: {problem}")
        found |= {f"{name}, s": values["s"], f"{name}, MiB": values["memory, MiB"]}
    return found


STUDIES = [Study("run of one row a step", "rows", (1_000, 10_000, 100_000, 1_000_000), (50, 200), measure)]
