"""Records how attempts end, and decides whether a crashed job is tried again. No torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.loggers.wandb_close import close_left
from lab.run_progress import Progress
from lab.run_record import read_record
from lab.sweeps import lines
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.state import SweepState
from lab.sweeps.states import BAD, DONE
from lab.sweeps.verdicts import Outcome

NOT_NOW = 15.0
"""Seconds after which a job is tried again that the launcher could not start."""
_SERVICE_ENDS = 0.5
"""Seconds that W&B's service, which outlives a killed job for a moment, is waited for."""


def record_end(
    state: SweepState,
    row: JobRow,
    attempt: int,
    outcome: Outcome,
    exit_code: int,
    progress: Progress | None,
    result: Mapping[str, Any] | None = None,
) -> None:
    """Record the end of an attempt; decide whether a crashed job is tried again."""
    first, last = (progress.first_step, progress.step) if progress else (None, None)
    now = time.time()
    job: dict[str, Any] = {"state": outcome.state, "problem": outcome.problem, "tail": outcome.tail}
    job |= {"exit_code": exit_code, "ended": now}
    wait = state.settings.backoff * 2**row.crashes
    if outcome.state == "crashed":
        job["crashes"] = row.crashes + 1
        if row.crashes >= state.settings.retries:
            job["state"] = "failed"
        elif first is None and _was_barren(state.ledger, row):
            job["state"] = "poison"
        else:
            job |= {"state": "waiting", "not_before": now + wait, "ended": None}
    elif outcome.state == "interrupted":
        job["ended"] = None
    if outcome.state not in ("finished", "pruned") and row.run:
        close_left(Path(row.run), exit_code, wait=_SERVICE_ENDS)
    if outcome.state in ("finished", "pruned"):
        job |= {"result": dict(result or {}), "tail": ""}
    values: dict[str, Any] = {"exit_code": exit_code, "first_step": first, "last_step": last}
    values |= {"problem": outcome.problem, "tail": outcome.tail}
    state.ledger.end(row.number, attempt, outcome.state, job, **values)
    row = state.ledger.job(row.number)
    _say_end(state, row, last, wait, now - state.ledger.attempts(row.number)[-1].started)
    if row.state in DONE | BAD:
        state.proposer.learn(row)


def put_off(state: SweepState, row: JobRow, attempt: int, problem: str) -> None:
    """Let a job wait that the launcher cannot start now, which is not its fault."""
    job = {"state": "waiting", "not_before": time.time() + NOT_NOW}
    state.ledger.end(row.number, attempt, "waiting", job, problem=problem)
    state.say(lines.put_off(state.label(row), problem, NOT_NOW))


def refuse(state: SweepState, number: int, problem: str) -> None:
    """Record that a job cannot be started."""
    state.ledger.change(number, state="refused", problem=problem, exit_code=2, ended=time.time())
    row = state.ledger.job(number)
    state.say(lines.failed(state.label(row), "refused", problem, row.attempts))
    state.proposer.learn(row)


def _say_end(state: SweepState, row: JobRow, step: int | None, wait: float, seconds: float) -> None:
    label = state.label(row)
    metric, value = _measured(row)
    if row.state == "finished":
        state.say(lines.finished(label, metric, value, seconds))
    elif row.state == "pruned":
        state.say(lines.pruned(label, step, metric, value, seconds))
    elif row.state == "waiting":
        most = row.attempts + 1 + state.settings.retries - row.crashes
        state.say(lines.crashed(label, row.problem, step, wait, row.attempts + 1, most))
    elif row.state == "interrupted":
        state.say(lines.interrupted(label, step))
    elif row.state == "withdrawn":
        state.say(lines.withdrawn(label))
    else:
        state.say(lines.failed(label, row.state, row.problem, row.attempts, step))


def _was_barren(ledger: Ledger, row: JobRow) -> bool:
    """Whether the attempt before the last one has died before a first step too, since the user's last retry."""
    before = [attempt for attempt in ledger.attempts(row.number) if attempt.outcome == "crashed"]
    return row.crashes > 0 and bool(before) and before[-1].first_step is None


def _measured(row: JobRow) -> tuple[str, float | None]:
    """Return the metric that a job monitors, and its value."""
    metric = str(read_record(Path(row.run) / "run.json")[0].get("monitor", ""))
    return (metric, row.result[metric]) if metric in row.result else ("", None)
