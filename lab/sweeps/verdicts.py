"""What an attempt's end means for its job. No torch."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.run_progress import last_word
from lab.sweeps.placing import Assignment, Ended
from lab.text import one_line

LINES = 12
"""The last lines of its output that are kept of a failed attempt."""
MOST_LINES = 100
"""Of a traceback, which is kept from its first line on."""
_BYTES = 32_768
_TREE = "│├└"


@dataclass(frozen=True)
class Outcome:
    """How an attempt has ended.

    Attributes:
        state: the state of the job now, or ``crashed``, which the master's retries decide on.
        problem: why it has no result, in one line.
        tail: the last lines of its output.
    """

    state: str
    problem: str = ""
    tail: str = ""


def judge_end(ended: Ended, record: Mapping[str, Any], assignment: Assignment, stopped: str) -> Outcome:
    """Return what the end of an attempt means.

    Args:
        ended: how its process has ended.
        record: its run's ``run.json``.
        assignment: the attempt.
        stopped: why the master has stopped it; empty if it has not.
    """
    config, code = assignment.prepared.config, ended.exit_code
    state = record.get("state")
    trains = config["stage"] == "fit" and not config["check"]
    if code == 0 and (not trains or state in ("finished", "pruned")):
        return Outcome("pruned" if trains and state == "pruned" else "finished")
    tail = last_lines(assignment)
    word = one_line((last_word(assignment.folder) or {}).get("text", ""))
    if code == 0:
        return Outcome("crashed", "its process ended with exit code 0 before the run was finished", tail)
    if stopped == "withdrawn":
        return Outcome("withdrawn")
    if code in (130, 143) or (stopped and code == 128 + signal.SIGKILL and not stopped.startswith("no progress")):
        if stopped or ended.stopped:
            return Outcome("interrupted", stopped or ended.problem)
        return Outcome("crashed", f"stopped by {signal.Signals(code - 128).name}, which the master has not sent", tail)
    if code == 2:
        return Outcome("refused", word or ended.problem, tail)
    if state == "diverged":
        return Outcome("diverged", word or ended.problem, tail)
    return Outcome("crashed", stopped or word or ended.problem, tail)


def last_lines(assignment: Assignment) -> str:
    """Return the last lines of a job's output: that of its run, or what it wrote before it had one."""
    for file in (assignment.prepared.path / "output.log", assignment.folder / "output.log"):
        lines = _tail(file)
        if lines:
            return lines
    return ""


def _tail(file: Path) -> str:
    """Return the last lines, those of a traceback from its first one on; without trees of the config and tables."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _BYTES))
            text = opened.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and line.lstrip()[0] not in _TREE]
    traced = next((place for place, line in enumerate(lines) if line.startswith("Traceback (most recent")), len(lines))
    return "\n".join(lines[max(min(traced, len(lines) - LINES), len(lines) - MOST_LINES, 0) :])
