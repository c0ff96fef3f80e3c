"""What the user may change while a sweep runs: launcher.yaml, the number of jobs at a time, requests. No torch."""

from __future__ import annotations

import shlex
import signal
import time

from lab.config.words import word_key
from lab.errors import ConfigError, LabError
from lab.sweeps import lines
from lab.sweeps.setup import read_settings, write_settings
from lab.sweeps.state import SweepState
from lab.sweeps.states import BAD, DONE


def reconfigure(state: SweepState) -> None:
    """SIGHUP: read launcher.yaml again, and lift a pause; a wrong file changes nothing."""
    set_paused(state, False)
    try:
        settings = read_settings(state.folder)
        added = _add_jobs(state, settings.add)
        for number in [*settings.order, *settings.withdraw]:
            state.ledger.job(number)
    except LabError as error:
        state.say(f"SIGHUP: launcher.yaml cannot be used, and the settings stay as they were: {error}")
        return
    state.settings = settings
    state.ledger.set(workers=settings.workers)
    for turn, number in enumerate(settings.order):
        state.ledger.change(number, turn=turn - 1e6)
    drop(state, settings.withdraw)
    state.say(f"SIGHUP: {settings.workers} job(s) at a time, {settings.retries} retries; {added} job(s) added")


def _add_jobs(state: SweepState, asked: list[str]) -> int:
    jobs = [state.prepare(words_to_add(state, line)) for line in asked]
    known = {row.run for row in state.ledger.jobs()}
    new = [job for job in jobs if str(job.path) not in known]
    numbers = state.ledger.add([(job.words, str(job.path), {}) for job in new])
    state.prepared |= dict(zip(numbers, new, strict=True))
    return len(new)


def words_to_add(state: SweepState, line: str) -> list[str]:
    """Return the overrides of a further job: those that all jobs share, and those of the line."""
    try:
        given = shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"add: {line}: {error}") from None
    keys = {word_key(word) for word in given}
    return [*[word for word in state.ledger.get("shared", []) if word_key(word) not in keys], *given]


def set_paused(state: SweepState, paused: bool) -> None:
    """Start nothing from here on, or go on."""
    if state.paused != paused:
        state.paused = paused
        state.ledger.set(paused=paused)
        state.say("paused: nothing is started" if paused else "resumed: jobs are started again")


def resize(state: SweepState, change: int, signum: signal.Signals) -> None:
    """Change the number of jobs at a time, here and in launcher.yaml."""
    workers = max(1, state.settings.workers + change)
    state.settings = state.settings.model_copy(update={"workers": workers})
    write_settings(state.folder, state.settings)
    state.ledger.set(workers=workers)
    state.say(f"{signum.name}: {workers} job(s) at a time")


def heed_requests(state: SweepState) -> None:
    """Do what other processes have asked for in the ledger."""
    for request in state.ledger.take_requests():
        if request.verb in ("pause", "resume"):
            set_paused(state, request.verb == "pause")
        elif request.verb == "reload":
            reconfigure(state)
        elif request.verb == "retry":
            retry(state, request.jobs)
        elif request.verb == "drop":
            drop(state, request.jobs or [row.number for row in state.ledger.jobs() if row.state not in DONE])


def retry(state: SweepState, numbers: list[int]) -> None:
    """Let failed jobs wait again, these or all."""
    rows = [row for row in state.ledger.jobs(*BAD) if not numbers or row.number in numbers]
    for row in rows:
        state.ledger.change(row.number, state="waiting", crashes=0, not_before=0.0, problem="", tail="", ended=None)
    if rows:
        state.say(f"tried again: {', '.join(str(row.number) for row in rows)}")


def drop(state: SweepState, numbers: list[int]) -> None:
    """Take jobs out: waiting ones at once, running ones after a checkpoint."""
    for row in state.ledger.jobs():
        if row.number not in numbers or row.state in DONE:
            continue
        if row.number in state.running:
            state.running[row.number].stopped = "withdrawn"
            state.running[row.number].placement.stop()
        else:
            state.ledger.change(row.number, state="withdrawn", ended=time.time())
            state.proposer.learn(state.ledger.job(row.number))
            state.say(lines.withdrawn(state.label(row)))
