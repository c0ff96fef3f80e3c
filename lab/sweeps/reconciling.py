"""Brings a ledger and the run directories together when a master starts: what finished, what was cut off. No torch."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.launch.prepare import Prepared
from lab.run_record import read_record
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.states import BAD


def holder_name() -> str:
    """Return the name of this process in a ledger: its pid, host and start, which no other process has."""
    return f"{os.getpid()}@{socket.gethostname()}#{_started(os.getpid())}"


def is_alive(holder: str) -> bool:
    """Whether the process of that name runs on this host; one of another host counts as alive."""
    pid, _, rest = holder.partition("@")
    host, _, started = rest.partition("#")
    return host != socket.gethostname() or (pid.isdigit() and _started(int(pid)) == started)


def _started(pid: int) -> str:
    """Return when a process was started, in the kernel's ticks; empty if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def adopt(ledger: Ledger, prepared: Mapping[int, Prepared]) -> list[str]:
    """Correct the jobs that an earlier master has left, by what their runs say.

    A job that was running counts as lost, not as crashed: its master was ended, not it. If the earlier master had come
    to its end, failed jobs wait again, so that the same command tries them once more, and so does one finished job of
    each dataset: it only reports its result, and is refused if its data or the sources have changed.

    Args:
        ledger: the ledger.
        prepared: the jobs that this command has prepared, by number.

    Returns:
        Lines that say what was found.
    """
    said = []
    ended = ledger.get("exit_code") is not None
    open_attempts = {attempt.job: attempt for attempt in ledger.attempts() if attempt.ended is None}
    lost: list[int] = []
    for row in ledger.jobs():
        attempt = open_attempts.get(row.number)
        if row.state == "running" and attempt is not None and is_alive(attempt.holder):
            continue  # of the master that hands over to this one
        path = str(prepared[row.number].path) if row.number in prepared else row.run
        changes = _correct(row, path, ended)
        if row.state == "running" and attempt is not None:
            lost.append(row.number)
            ledger.end(row.number, attempt.attempt, "lost", changes, problem="its master was ended")
        elif changes:
            ledger.change(row.number, **changes)
    if ended:
        finished = {
            _data_of(prepared[row.number]): row for row in reversed(ledger.jobs("finished")) if row.number in prepared
        }
        for row in finished.values():
            ledger.change(row.number, state="waiting", not_before=0.0)
    if lost:
        said.append(f"{len(lost)} job(s) were cut off with an earlier master: {', '.join(map(str, lost))}")
    return said


def _data_of(job: Prepared) -> str:
    return json.dumps([job.config["data"], job.config["extensions"]], sort_keys=True)


def _correct(row: JobRow, path: str, ended: bool) -> dict[str, Any]:
    """Return what has to be changed of a job."""
    record = read_record(Path(path) / "run.json")[0] if path else {}
    done = record.get("state") if record.get("state") in ("finished", "pruned") else None
    changes: dict[str, Any] = {"run": path} if path != row.run else {}
    if row.state == "running" and done is not None:
        return changes | {"state": done, "result": record.get("result", {}), "problem": ""}
    if row.state in ("running", "interrupted"):
        return changes | {"state": "waiting", "not_before": time.time()}  # its process may just be dying
    if row.state in BAD and ended:
        return changes | {"state": "waiting", "not_before": 0.0, "crashes": 0, "problem": "", "tail": ""}
    if row.state in ("finished", "pruned") and path and not record:
        return changes | {"state": "waiting", "not_before": 0.0, "result": {}}  # its run directory is gone
    return changes
