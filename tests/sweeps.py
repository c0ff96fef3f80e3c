"""Ledgers as a master would fill them, for tests of what a person sees of a sweep."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.run_progress import Progress
from lab.sweeps.ledger import Ledger


def write_progress(folder: Path, number: int, **values: Any) -> None:
    """Write the progress of a job as its process would."""
    place = folder / "jobs" / str(number)
    place.mkdir(parents=True, exist_ok=True)
    (place / "progress.json").write_text(json.dumps(asdict(Progress(**{"time": 0.0, **values}))))


def write_record(
    run: Path, result: dict[str, float | None], monitor: str = "val/map", lower: tuple[str, ...] = ()
) -> None:
    """Write the ``run.json`` of a finished run."""
    record = {"state": "finished", "sources": "", "overrides": [], "exit_code": 0, "resumed_at": [], "changes": []}
    run.mkdir(parents=True, exist_ok=True)
    entries = {**record, "result": result, "monitor": monitor, "lower_is_better": list(lower)}
    (run / "run.json").write_text(json.dumps(entries))


def middle_of_a_sweep(folder: Path) -> Ledger:
    """Return the ledger of a sweep of six jobs: one finished, one failed, one set aside, two running, one waiting."""
    folder.mkdir(parents=True)
    ledger = Ledger(folder, create=True)
    rates = ("1e-1", "1e-2", "1e-3", "3e-4", "1e-4", "1e-5")
    runs = folder.parent.parent
    ledger.add([(["model=detr_tiny", f"optimizer.lr={rate}"], str(runs / f"run-{rate}"), {}) for rate in rates])
    ledger.set(
        command="python run.py -m optimizer.lr=1e-1,1e-2", workers=2, total=6, objectives=[{"metric": "val/map"}]
    )
    (folder / "run.lock").write_text("pid 4321 on atlas")
    ledger.set(holder={"pid": 4321, "host": "atlas", "since": 100.0})
    for number in (1, 2, 3, 4, 5):
        attempt = ledger.claim(number, "master", number % 2)
        assert attempt == 1
        ledger.place(number, attempt, f"pid {1000 + number} on atlas")
    result = {"test/map": 0.31, "val/map": 0.3}
    ledger.end(1, 1, "finished", {"state": "finished", "result": result, "exit_code": 0})
    write_record(runs / "run-1e-1", result)
    problem = {"problem": "killed by SIGKILL", "tail": "line one\nOut of memory"}
    ledger.end(
        2, 1, "crashed", {"state": "failed", "exit_code": 137, **problem}, exit_code=137, last_step=12, **problem
    )
    ledger.end(3, 1, "crashed", {"state": "poison", "exit_code": 139, "problem": "killed by SIGSEGV"})
    write_progress(
        folder,
        4,
        phase="train",
        step=12,
        max_steps=40,
        metrics={"train/loss": 2.0, "val/map": 0.125},
        steps_per_s=2.0,
        memory_gib=1.25,
    )
    return ledger
