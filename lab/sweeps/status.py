"""What ``lab sweep status`` prints: the jobs of a sweep from its ledger, running or ended. No torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.report.dates import duration
from lab.report.plain import plain
from lab.report.shown import pick_metric
from lab.report.tables import as_text, one_row
from lab.sweeps import lines
from lab.sweeps.holder import Holder, command_of
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.snapshot import Observer, RunningJob, Snapshot
from lab.sweeps.states import BAD, DONE, JobState
from lab.text import one_line, printable

_MOST_ROWS = 200
_MOST_PLACES = 20
_WIDE = 160
"""Columns where the output is no terminal: rich would take 80."""
_EVENTS = 5
_COLOURS: Mapping[str, str] = {
    "finished": "green",
    "running": "cyan",
    "pruned": "dim",
    "withdrawn": "dim",
    "interrupted": "yellow",
} | dict.fromkeys(BAD, "red")


def status_of(ledger: Ledger, master: Holder) -> dict[str, Any]:
    """Return the status for programs: plain values, null where a number is not defined."""
    observer = Observer(ledger)
    snapshot = observer.look(events=20)
    running = {found.job.number: found for found in snapshot.running}
    return {
        "sweep": str(ledger.file.parent),
        "command": ledger.get("command", ""),
        "master": {"lives": master.lives, "where": master.words, "since": master.since},
        "paused": snapshot.paused,
        "total": snapshot.total,
        "counts": dict(snapshot.counts),
        "seconds_left": snapshot.seconds_left if master.lives else None,
        "jobs": [_job(job, running.get(job.number)) for job in sorted(ledger.jobs(), key=lambda job: job.number)],
        "requests": [{"verb": request.verb, "jobs": request.jobs} for request in ledger.requests()],
        "events": [{"time": at, "kind": kind, "text": text} for at, kind, text in ledger.events(20)],
    }


def print_status(ledger: Ledger, master: Holder) -> None:
    """Print the table of the jobs, the counts, who holds the sweep, and what will happen to the open jobs."""
    observer = Observer(ledger)
    snapshot = observer.look(events=_EVENTS)
    jobs = sorted(ledger.jobs(), key=lambda job: job.number)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    running = {found.job.number: found for found in snapshot.running}
    shown = _chosen(jobs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "state", "tries", "slot", "step"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    table.add_column("overrides")
    table.add_column("latest")
    for job in shown:
        found = running.get(job.number)
        table.add_row(
            str(job.number),
            as_text(job.state, _COLOURS.get(job.state, "")),
            str(job.attempts),
            *_place(found),
            one_row(observer.label(job, None).words),
            one_row(_latest(job, found)),
        )
    console.print(table)
    if len(shown) < len(jobs):
        print(f"{len(jobs) - len(shown)} more jobs are not shown (--json has all)")
    for line in _below(ledger, snapshot, master, command_of(ledger)):
        console.print(Text(printable(line)), soft_wrap=True)


def _below(ledger: Ledger, snapshot: Snapshot, master: Holder, command: str) -> list[str]:
    """Return the lines below the table."""
    found = [f"{snapshot.name}: {lines.counted(snapshot.counts, snapshot.total)}"]
    if master.lives:
        left = f", about {duration(snapshot.seconds_left)} left" if snapshot.seconds_left is not None else ""
        found.append(f"master    {master.words}{_since(master)}{left}")
    else:
        found.append(f"master    none runs{f' (the last was {master.words})' if master.words else ''}")
        if snapshot.running:
            found.append(f"          {len(snapshot.running)} jobs were running when it ended; it did not see their end")
        complete = snapshot.total is not None and snapshot.done >= snapshot.total
        if not complete and command:
            found.append(f"          to go on: {command}")
    found += [f"place     job {number}: {place}" for number, place in _elsewhere(snapshot)[:_MOST_PLACES]]
    if snapshot.paused:
        found.append("paused    no further job is started (lab sweep resume)")
    for request in ledger.requests():
        which = f" {', '.join(map(str, request.jobs[:20]))}" if request.jobs else ""
        found.append(f"request   {request.verb}{which}: not taken yet")
    return found + [f"          {one_line(text)}" for text in snapshot.events]


def _elsewhere(snapshot: Snapshot) -> list[tuple[int, str]]:
    """Return where jobs run that a launcher has started elsewhere: ``Slurm job 17, PENDING (Priority)``."""
    places = [(found.job.number, found.attempt.place) for found in snapshot.running if found.attempt]
    return [(number, place) for number, place in places if place.startswith(("Slurm ", "Ray, "))]


def _since(master: Holder) -> str:
    return f", for {duration(time.time() - master.since)}" if master.since is not None else ""


def _chosen(jobs: list[JobRow]) -> list[JobRow]:
    """Return the jobs to show: all, or of very many first those that run or have failed."""
    if len(jobs) <= _MOST_ROWS:
        return jobs
    ranks: dict[JobState, int] = {"running": 0, "finished": 2, "pruned": 3, "withdrawn": 3, "waiting": 3}
    first = sorted(jobs, key=lambda job: (ranks.get(job.state, 1), job.number))[:_MOST_ROWS]
    return sorted(first, key=lambda job: job.number)


def _place(found: RunningJob | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    slot = str(found.attempt.slot) if found.attempt else ""
    if found.progress is None:
        return slot, "-"
    return slot, f"{found.progress.step}/{found.progress.max_steps}"


def _latest(job: JobRow, found: RunningJob | None) -> str:
    """Return what is known of a job in a few words: its problem, its result, or what it measured last."""
    if job.state in BAD:
        return one_line(job.problem) or f"exit code {job.exit_code}"
    if found is not None:
        phase = found.progress.phase if found.progress else "start"
        left = f", {duration(found.seconds_left)} left" if found.seconds_left is not None else ""
        measured = f", {found.metric} {lines.number(found.value)}" if found.metric else ""
        place = f" ({found.attempt.place})" if found.attempt and found.attempt.place else ""
        return f"{phase}{measured}{left}{place}"
    if job.state in DONE and job.result:
        tested = {key: value for key, value in job.result.items() if key.startswith("test/") and key != "test/loss"}
        metric = next(iter(tested), "") or pick_metric(job.result, "")
        return f"{metric} {lines.number(job.result.get(metric))}" if metric else ""
    if job.state == "waiting" and job.problem:
        return f"to be tried again after: {one_line(job.problem)}"
    return ""


def _job(job: JobRow, found: RunningJob | None) -> dict[str, Any]:
    entry = asdict(job)
    del entry["turn"]
    if found is not None:
        entry["running"] = {
            "slot": found.attempt.slot if found.attempt else None,
            "place": found.attempt.place if found.attempt else "",
            "started": found.attempt.started if found.attempt else None,
            "progress": {**asdict(found.progress), "seconds_left": found.progress.seconds_left}
            if found.progress
            else None,
        }
    return {key: plain(value) for key, value in entry.items()}
