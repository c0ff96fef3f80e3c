"""Runs commands of ``run.py`` in forked processes, in which torch is already imported."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proof.runner import Proof

TIMES = ("train/samples_per_s", "train/data_wait", "train/peak_memory_gib")
"""Columns of metrics.csv that differ between any two runs."""


def common_words(proof: Proof, runs: str) -> list[str]:
    """Return the first overrides of all commands of a proof."""
    trainer = ["trainer=gpu", "trainer.devices=1"] if proof.device == "cuda" else ["trainer=cpu"]
    return [*trainer, f"paths.runs_dir={proof.folder / runs}", "logger=csv", "callbacks.progress=false"]


def fork(work: Callable[[], Any], answer: Path | None = None) -> int:
    """Start ``work`` in a child and return its pid; its result is the exit code, or goes into ``answer`` as JSON."""
    sys.stdout.flush(), sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        result = work()
        code = result if answer is None else 0
        if answer is not None:
            answer.write_text(json.dumps(result), encoding="utf-8")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def command(words: list[str]) -> int:
    """Start a command and return its pid."""
    from lab.cli.main import main

    sys.argv = ["run.py", *words]
    return fork(lambda: main(words))


def wait(pid: int) -> int:
    """Return the exit code of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def done(pid: int) -> None:
    """Wait for a command.

    Raises:
        RuntimeError: its exit code is not 0.
    """
    if code := wait(pid):
        raise RuntimeError(f"run.py ended with {code}; see log.txt")


def asked(work: Callable[[], Any], folder: Path) -> Any:
    """Run ``work`` in a child process and return its result, so that this process uses no device.

    Raises:
        RuntimeError: the child failed.
    """
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    if wait(fork(work, answer)):
        raise RuntimeError("failed in its process; see log.txt")
    return json.loads(answer.read_text(encoding="utf-8"))


def kill_at(pid: int, run: Path, step: int, deadline: float) -> int:
    """Kill a training when ``metrics.csv`` has a given step, and return the last step in it.

    Raises:
        RuntimeError: the training ended before, or did not reach the step in time.
    """
    while True:
        rows = rows_of(run)
        if rows and rows[-1]["step"] >= step:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return int(rows_of(run)[-1]["step"])
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise RuntimeError(f"ended at step {rows[-1]['step'] if rows else 0}, before it was killed")
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise RuntimeError(f"step {step} was not reached in time")
        time.sleep(0.02)


def rows_of(run: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's ``metrics.csv``; none if it does not exist yet."""
    from lab.loggers.metrics_file import read_metrics

    file = run / "metrics.csv"
    return list(read_metrics(file)) if file.is_file() else []


def trained_rows(run: Path) -> list[dict[str, Any]]:
    """Return the rows of steps whose loss was logged."""
    return [row for row in rows_of(run) if row.get("train/loss") is not None]


def only_run(folder: Path) -> Path:
    """Return the one run of a folder.

    Raises:
        RuntimeError: there is none, or more than one.
    """
    runs = [path.parent for path in folder.glob("*/run.json")]
    if len(runs) != 1:
        raise RuntimeError(f"{len(runs)} runs in {folder}; see log.txt")
    return runs[0]


def record_of(run: Path) -> dict[str, Any]:
    """Return a run's ``run.json``."""
    record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return record
