"""What a sweep looks like at a moment, from its ledger and the progress files of its jobs. No torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.report.shown import pick_metric, shared_words, varied
from lab.run_progress import Progress, read_progress
from lab.run_record import read_record
from lab.sweeps.ledger import AttemptRow, JobRow, Ledger
from lab.sweeps.lines import Label
from lab.sweeps.states import DONE, JobState


@dataclass(frozen=True)
class RunningJob:
    """A job that runs.

    Attributes:
        job: its row.
        label: its name in lines and tables.
        attempt: its present attempt; None if the ledger has lost it.
        progress: what it wrote last; None before its first line.
        metric: the metric to show, the monitored one if that is known; empty if it has measured nothing yet.
    """

    job: JobRow
    label: Label
    attempt: AttemptRow | None
    progress: Progress | None
    metric: str = ""

    @property
    def seconds_left(self) -> float | None:
        """The estimated time to the last step; None if it is not known, or if only tests are left."""
        done = self.progress is None or self.progress.step >= self.progress.max_steps
        return None if done or self.progress is None else self.progress.seconds_left

    @property
    def value(self) -> float | None:
        """The latest value of the metric."""
        return self.progress.metrics.get(self.metric) if self.progress else None


@dataclass(frozen=True)
class Snapshot:
    """A sweep at a moment.

    Attributes:
        name: the name of its directory.
        total: how many jobs there will be; None if that is open.
        counts: the number of jobs in each state.
        running: the running jobs, by slot.
        seconds_left: the estimated time to the end; None if nothing is known yet.
        paused: whether the master starts no further jobs.
        events: the last lines.
    """

    name: str
    total: int | None
    counts: Mapping[JobState, int]
    running: list[RunningJob]
    seconds_left: float | None
    paused: bool
    events: list[str]

    @property
    def done(self) -> int:
        """The number of jobs with which nothing remains to be done."""
        return sum(count for state, count in self.counts.items() if state in DONE)


class Observer:
    """Takes snapshots of a sweep; it remembers what does not change.

    It reads these entries of the ledger: ``command``, ``total``, ``workers``, ``paused`` and ``objectives`` (of a
    search, each with its ``metric``).

    Args:
        ledger: the ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.folder = ledger.file.parent
        self._known = -1
        self._shared: frozenset[str] = frozenset()
        self._monitors: dict[int, str] = {}

    def look(self, progress: Mapping[int, Progress] | None = None, events: int = 5) -> Snapshot:
        """Take a snapshot.

        Args:
            progress: the progress of the running jobs by number, if the caller has read it already.
            events: how many of the last lines it has.
        """
        counts = self.ledger.counts()
        known = sum(counts.values())
        planned = self.ledger.get("total", known)
        total = None if planned is None else max(planned, known)
        self._learn_words(known)
        running = [self._running(job, total, progress) for job in self.ledger.jobs("running")]
        running.sort(key=lambda found: (found.attempt.slot if found.attempt else 0, found.job.number))
        return Snapshot(
            self.folder.name,
            total,
            counts,
            running,
            self._seconds_left(counts, total, running),
            bool(self.ledger.get("paused", False)),
            [text for _, _, text in self.ledger.events(events)] if events else [],
        )

    def label(self, job: JobRow, total: int | None) -> Label:
        """Return the name of a job: its number and its words that are not those of every job."""
        self._learn_words(sum(self.ledger.counts().values()))
        return Label(job.number, total, varied(job.words, self._shared))

    def _learn_words(self, known: int) -> None:
        """Find the words that all jobs share, if their number has changed."""
        if known != self._known:
            self._shared, self._known = shared_words(job.words for job in self.ledger.jobs()), known
            if known == 1:  # of a search: what was typed is not what the search has chosen
                (only,) = self.ledger.jobs()
                self._shared = frozenset(only.words).intersection(str(self.ledger.get("command", "")).split())

    def _running(self, job: JobRow, total: int | None, given: Mapping[int, Progress] | None) -> RunningJob:
        attempts = self.ledger.attempts(job.number)
        progress = read_progress(self.folder / "jobs" / str(job.number)) if given is None else given.get(job.number)
        metric = pick_metric(progress.metrics, self._monitor(job)) if progress else ""
        return RunningJob(
            job,
            Label(job.number, total, varied(job.words, self._shared)),
            attempts[-1] if attempts else None,
            progress,
            metric,
        )

    def _monitor(self, job: JobRow) -> str:
        """Return the metric that the sweep compares, or that the run monitors; empty if neither is known yet."""
        if not self._monitors.get(job.number):
            objectives = self.ledger.get("objectives") or [{}]
            named = objectives[0].get("metric") or read_record(Path(job.run) / "run.json")[0].get("monitor")
            self._monitors[job.number] = named or ""
        return self._monitors[job.number]

    def _seconds_left(
        self, counts: Mapping[JobState, int], total: int | None, running: list[RunningJob]
    ) -> float | None:
        """Estimate from the mean time of the jobs that are done and what the running ones say of themselves.

        Until one is done, the running ones stand for the others.
        """
        to_come = 0 if total is None else max(0, total - sum(counts.values()))
        waiting = counts.get("waiting", 0) + counts.get("interrupted", 0) + to_come
        mean, now = self.ledger.mean_seconds(), time.time()
        gone = {one.job.number: now - one.attempt.started if one.attempt else 0.0 for one in running}
        if mean is None:
            known = [gone[one.job.number] + one.seconds_left for one in running if one.seconds_left is not None]
            mean = sum(known) / len(known) if known else None
        remaining: list[float] = []
        for one in running:
            left = [max(0.0, mean - gone[one.job.number])] if mean is not None else []
            left += [one.seconds_left] if one.seconds_left is not None else []
            if not left:
                return None
            remaining.append(max(left))
        if waiting and mean is None:
            return None
        workers = max(1, int(self.ledger.get("workers", len(running) or 1)))
        together = (waiting * (mean or 0.0) + sum(remaining)) / workers
        return max(together, *remaining) if remaining else together
