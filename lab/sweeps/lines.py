"""The lines that say what happens in a sweep: on the terminal, in ``master.log`` and in the ledger. No torch.

They are functions of data, so that all three have the same words. Each returns one line that is safe for a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lab.report.dates import duration
from lab.sweeps.states import BAD, DONE, JobState
from lab.text import one_line

_LONGEST = 500
"""Signs of a problem in a line; the ledger has all of it."""
_ORDER: tuple[JobState, ...] = (
    "finished",
    "pruned",
    "withdrawn",
    "running",
    "waiting",
    "interrupted",
    "failed",
    "diverged",
    "refused",
    "poison",
)


@dataclass(frozen=True)
class Label:
    """What a line calls a job.

    Attributes:
        number: the job's number.
        total: the number of jobs; None if that is open.
        words: its varied overrides, such as ``optimizer.lr=1e-3 seed=1``.
    """

    number: int
    total: int | None = None
    words: str = ""

    @property
    def place(self) -> str:
        """``3/24``, or ``3`` if the number of jobs is open."""
        return str(self.number) if self.total is None else f"{self.number}/{self.total}"

    def line(self, verb: str, rest: str = "") -> str:
        """Return ``[3/24] started optimizer.lr=1e-3: rest``."""
        words = f" {self.words}" if self.words else ""
        return one_line(f"[{self.place}] {verb}{words}{': ' if rest else ''}{_cut(rest)}")


def opened(name: str, jobs: Mapping[JobState, int], total: int | None, workers: int, why: str = "") -> str:
    """Return the first line of a sweep: how many jobs, how many of them are done, how many run at a time."""
    done = sum(count for state, count in jobs.items() if state in DONE)
    number = f"{total} jobs" if total is not None else f"{sum(jobs.values())} jobs so far"
    before = f", {done} of them done before" if done else ""
    return one_line(f"sweep {name}: {number}{before}, {workers} at a time{f' ({why})' if why else ''}")


def started(label: Label, slot: int, attempt: int, place: str = "") -> str:
    """Return the line of an attempt's start."""
    return one_line(f"{label.line('started')} (slot {slot}, attempt {attempt}{', ' if place else ''}{place})")


def finished(label: Label, metric: str, value: float | None, seconds: float) -> str:
    """Return the line of a finished job, with the metric that it monitors."""
    measured = f"{metric} {number(value)}, " if metric else ""
    return label.line("finished", f"{measured}{duration(seconds)}")


def pruned(label: Label, step: int | None, metric: str, value: float | None, seconds: float) -> str:
    """Return the line of a job that the search has stopped."""
    measured = f", {metric} {number(value)}" if metric else ""
    return label.line("pruned", f"{_after(step)}{measured}, {duration(seconds)}".strip(", "))


def crashed(label: Label, problem: str, last_step: int | None, wait: float, attempt: int, most: int) -> str:
    """Return the line of a crash after which the job is tried again.

    Args:
        label: the job.
        problem: why it died, in one line.
        last_step: the last step that it trained; None if none.
        wait: seconds until it is tried again.
        attempt: the number of the next attempt.
        most: how many attempts there may be.
    """
    died = one_line(f"[{label.place}] crashed ({_cut(problem) or 'for no known reason'}) {_after(last_step)}")
    return f"{died}; tried again in {wait:.3g} s (attempt {attempt} of {most})"


def put_off(label: Label, problem: str, wait: float) -> str:
    """Return the line of a job that the launcher cannot start at this time."""
    return label.line("cannot be started now", f"{_cut(problem)}; tried again in {wait:.3g} s")


def failed(label: Label, state: JobState, problem: str, attempts: int, last_step: int | None = None) -> str:
    """Return the line of a job that is given up: its state, why, and after how many attempts."""
    verb = "set aside as poison" if state == "poison" else state
    tries = f" ({attempts} attempt{'s' if attempts != 1 else ''})"
    after = f" {_after(last_step)}" if last_step is not None else ""
    return f"{label.line(verb)}{after}{tries}: {_cut(problem) or 'for no known reason'}"


def interrupted(label: Label, last_step: int | None, problem: str = "") -> str:
    """Return the line of a job that was stopped, and is continued."""
    return label.line("interrupted", f"{_after(last_step)}{', ' if problem else ''}{problem}")


def withdrawn(label: Label) -> str:
    """Return the line of a job that the user has taken out."""
    return label.line("withdrawn")


def counted(counts: Mapping[JobState, int], total: int | None = None) -> str:
    """Return how many jobs are in each state: ``12 finished, 2 running, 10 waiting``.

    Args:
        counts: the number of jobs in each state.
        total: how many jobs there will be; those that are not in the ledger yet count as waiting.
    """
    shown = dict(counts)
    to_come = 0 if total is None else total - sum(counts.values())
    if to_come > 0:
        shown["waiting"] = shown.get("waiting", 0) + to_come
    return ", ".join(f"{shown[state]} {state}" for state in _ORDER if shown.get(state)) or "no job yet"


def is_bad(counts: Mapping[JobState, int]) -> bool:
    """Whether a job has failed, in any way."""
    return any(count for state, count in counts.items() if state in BAD)


def number(value: float | None) -> str:
    """Return a metric with four digits; a dash if it is not defined."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g}"


def _after(step: int | None) -> str:
    return "before a first step" if step is None else f"after step {step}"


def _cut(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
