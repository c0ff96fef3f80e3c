"""The master of a sweep: it starts jobs, collects the dead, tries again, and heeds signals and requests.

It keeps nothing in memory that matters: killed and started again by the same command, it goes on from the ledger. Its
loop handles what has happened since the last round in the order of nginx's cycle: the dead first, then the signals from
the most final to the least.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lab.errors import ConfigError, LabError
from lab.launch.prepare import Prepared
from lab.run_lock import is_locked
from lab.run_progress import Progress, read_progress, read_reports, write_verdict
from lab.run_record import read_record
from lab.sweeps import lines
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.notes import SignalNotes
from lab.sweeps.placing import Assignment, Ended, Placement, Placer
from lab.sweeps.proposing import Proposer
from lab.sweeps.settings import LauncherFile
from lab.sweeps.setup import read_settings, write_settings
from lab.sweeps.snapshot import Observer
from lab.sweeps.states import BAD, DONE
from lab.sweeps.verdicts import Outcome, judge_end
from lab.text import printable

TICK = 0.2
"""Seconds between looks at the progress of jobs."""
LOG = "master.log"
ENDINGS = {signal.SIGTERM: 143, signal.SIGINT: 130}
_PATIENCE = 15.0
"""Seconds that a run directory may stay locked after the master that ran its job was killed."""


@dataclass
class Running:
    """An attempt that this master has started."""

    assignment: Assignment
    placement: Placement
    started: float
    progress: Progress | None = None
    beat: float = 0.0
    reports_read: int = 0
    stopped: str = ""
    asked: float = 0.0

    @property
    def number(self) -> int:
        """The job."""
        return self.assignment.number


class Show(Protocol):
    """What shows a sweep: ``lab.sweeps.view``."""

    def start(self) -> None:
        """Begin to show the sweep, or go on."""

    def stop(self) -> None:
        """Show only lines from here on."""

    def say(self, line: str) -> None:
        """Show a line about an event."""

    def update(self, progress: Mapping[int, Progress]) -> None:
        """Show the progress of the running jobs."""


@dataclass
class Master:
    """Runs a sweep.

    Attributes:
        folder: the sweep's directory, which this process has locked.
        ledger: its ledger.
        proposer: says which jobs there are.
        placer: starts them.
        settings: those of ``launcher.yaml``.
        prepare: composes and checks a job by its words.
        prepared: the jobs that were prepared already, by number.
        show: shows what happens.
        holder: the name of this process in the ledger.
        successor: the new master that SIGUSR2 starts (``lab.sweeps.takeover``); None if there can be none.
    """

    folder: Path
    ledger: Ledger
    proposer: Proposer
    placer: Placer
    settings: LauncherFile
    prepare: Callable[[list[str]], Prepared]
    prepared: dict[int, Prepared]
    show: Show
    holder: str
    successor: Any = None
    running: dict[int, Running] = field(default_factory=dict)
    paused: bool = False
    ending: int = 0
    """The signal that ends the sweep: SIGTERM, SIGINT, or SIGQUIT to let the running jobs finish."""
    handed_over: bool = False
    _killing_at: float = 0.0
    _checked: float = 0.0
    _sources_said: bool = False

    def __post_init__(self) -> None:
        """Make what names jobs in lines."""
        self._observer = Observer(self.ledger)

    def run(self, notes: SignalNotes, sources_changed: Callable[[], bool]) -> int:
        """Run jobs until none is left or a signal ends the sweep; return 0, 130 or 143.

        Args:
            notes: the signals.
            sources_changed: whether the sources differ from those that this process has imported.
        """
        self._sources_changed = sources_changed
        try:
            while True:
                self._start_jobs()
                if self._is_over():
                    break
                if not self.handed_over:
                    self.show.update({number: job.progress for number, job in self.running.items() if job.progress})
                self.handle(notes.wait(self._pause()))
        except (LabError, OSError, sqlite3.OperationalError) as error:
            self._stop_all(f"the master ends: {error}")
            self._wait_for_jobs()
            raise
        finally:
            for running in self.running.values():
                running.placement.kill()
        return ENDINGS.get(signal.Signals(self.ending), 0) if self.ending else 0

    def _is_over(self) -> bool:
        if self.running:
            return False
        if self.handed_over:
            return self.successor is None or self.successor.has_ended()
        return bool(self.ending) or not (self.paused or self.ledger.count("waiting", "running"))

    def _pause(self) -> float:
        return 2 * TICK if self.paused and not self.running else TICK

    def handle(self, came: list[signal.Signals]) -> None:
        """Do what has come up: the dead first, then signals, then requests of other processes."""
        self._reap()
        for signum in (signal.SIGTERM, signal.SIGINT):
            if signum in came:
                self._terminate(signum)
        if signal.SIGQUIT in came and not self.ending:
            self.ending = signal.SIGQUIT
            self.say("SIGQUIT: no further jobs; the running ones finish")
        if signal.SIGHUP in came:
            self._reconfigure()
        if signal.SIGUSR1 in came:
            self._reopen()
        if signal.SIGUSR2 in came:
            self._change_code()
        if signal.SIGWINCH in came and not _in_foreground():
            self._set_paused(True)
        for signum, change in ((signal.SIGTTIN, 1), (signal.SIGTTOU, -1)):
            if signum in came:
                self._resize(change * came.count(signum), signum)
        if self.successor is not None:
            self._follow_successor()
        self._look_after_jobs()
        self._heed_requests()
        if self._killing_at and time.monotonic() > self._killing_at:
            self._killing_at = 0.0
            for running in self.running.values():
                self.say(f"job {running.number}: not ended after {self.settings.grace:g} s; killed")
                running.placement.kill()

    def say(self, text: str) -> None:
        """Show a line about an event, and record it in the ledger and in master.log."""
        text = printable(text)
        self.ledger.note("said", text)
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self.show.say(text)

    def label(self, row: JobRow) -> lines.Label:
        """Return what lines call a job."""
        return self._observer.label(row, self.proposer.total)

    # Starting

    def _start_jobs(self) -> None:
        if self.paused or self.ending or self.handed_over:
            return
        self._ask_for_jobs()
        free = self.settings.workers - self.ledger.count("running")  # an earlier master may have some (SIGUSR2)
        for row in self.ledger.jobs("waiting") if free > 0 else ():
            if row.not_before <= time.time() and self._start(row):
                free -= 1
            if free <= 0:
                return

    def _ask_for_jobs(self) -> None:
        """Let the sweeper add jobs, if fewer wait than there is room for."""
        room = self.settings.workers - self.ledger.count("running", "waiting")
        proposals = self.proposer.propose(self.ledger, room) if room > 0 else []
        for proposal in proposals:
            try:
                prepared = self.prepare(proposal.words)
            except LabError as error:
                (number,) = self.ledger.add([(proposal.words, "", proposal.point)])
                self._refuse(number, str(error))
                continue
            (number,) = self.ledger.add([(proposal.words, str(prepared.path), proposal.point)])
            self.prepared[number] = prepared

    def _start(self, row: JobRow) -> bool:
        """Start an attempt of a waiting job; return whether it takes a place."""
        try:
            if row.number not in self.prepared:
                self.prepared[row.number] = self.prepare(row.words)
        except LabError as error:
            self._refuse(row.number, str(error))
            return False
        prepared = self.prepared[row.number]
        if is_locked(prepared.path):  # by a process of a master that was killed, which dies at this moment
            if row.attempts and time.time() - row.not_before < _PATIENCE:
                return False
            self._refuse(row.number, f"{prepared.path} is in use by another process")
            return False
        slot = min(set(range(len(taken := self.ledger.slots()) + 1)) - taken)
        attempt = self.ledger.claim(row.number, self.holder, slot)
        if attempt is None:
            return False
        folder = self.folder / "jobs" / str(row.number)
        _make_empty(folder)
        waits = self.proposer.prunes
        assignment = Assignment(row.number, attempt, slot, prepared, folder, self.folder, waits)
        self.ledger.close()  # a fork must not have its connection
        try:
            placement = self.placer.start(assignment)
        except OSError as error:
            outcome = Outcome("crashed", f"cannot be started: {error.strerror}")
            self._record_end(self.ledger.job(row.number), attempt, outcome, 1, None)
            return True
        self.running[row.number] = Running(assignment, placement, time.time(), beat=time.monotonic())
        self.ledger.place(row.number, attempt, placement.place)
        self.say(lines.started(self.label(row), slot, attempt))
        return True

    def _refuse(self, number: int, problem: str) -> None:
        """Record that a job cannot be started."""
        self.ledger.change(number, state="refused", problem=problem, exit_code=2, ended=time.time())
        row = self.ledger.job(number)
        self.say(lines.failed(self.label(row), "refused", problem, row.attempts))
        self.proposer.learn(row)

    # Ending

    def _reap(self) -> None:
        for running in list(self.running.values()):
            ended = running.placement.poll()
            if ended is not None:
                self._collect(running, ended)

    def _collect(self, running: Running, ended: Ended) -> None:
        number, assignment = running.number, running.assignment
        running.progress = read_progress(assignment.folder) or running.progress
        self._take_reports(running)
        del self.running[number]
        row = self.ledger.job(number)
        config = assignment.prepared.config
        record = read_record(assignment.prepared.path / "run.json")[0]
        outcome = judge_end(ended, record, assignment, running.stopped)
        result = dict(record.get("result", {})) if config["stage"] == "fit" else {}
        self._record_end(row, assignment.attempt, outcome, ended.exit_code, running.progress, result)
        if (learn := getattr(self.placer, "learn", None)) is not None:
            learn(assignment)

    def _record_end(
        self,
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
        wait = self.settings.backoff * 2**row.crashes
        if outcome.state == "crashed":
            job["crashes"] = row.crashes + 1
            if row.crashes >= self.settings.retries:
                job["state"] = "failed"
            elif first is None and self._was_barren(row):
                job["state"] = "poison"
            else:
                job |= {"state": "waiting", "not_before": now + wait, "ended": None}
        elif outcome.state == "interrupted":
            job["ended"] = None
        if outcome.state in ("finished", "pruned"):
            job |= {"result": dict(result or {}), "tail": ""}
        values: dict[str, Any] = {"exit_code": exit_code, "first_step": first, "last_step": last}
        values |= {"problem": outcome.problem, "tail": outcome.tail}
        self.ledger.end(row.number, attempt, outcome.state, job, **values)
        row = self.ledger.job(row.number)
        self._say_end(row, last, wait, now - self.ledger.attempts(row.number)[-1].started)
        if row.state in DONE | BAD:
            self.proposer.learn(row)

    def _say_end(self, row: JobRow, step: int | None, wait: float, seconds: float) -> None:
        label = self.label(row)
        metric, value = self._measured(row)
        if row.state == "finished":
            self.say(lines.finished(label, metric, value, seconds))
        elif row.state == "pruned":
            self.say(lines.pruned(label, step, metric, value, seconds))
        elif row.state == "waiting":
            most = row.attempts + 1 + self.settings.retries - row.crashes
            self.say(lines.crashed(label, row.problem, step, wait, row.attempts + 1, most))
        elif row.state == "interrupted":
            self.say(lines.interrupted(label, step))
        elif row.state == "withdrawn":
            self.say(lines.withdrawn(label))
        else:
            self.say(lines.failed(label, row.state, row.problem, row.attempts, step))

    def _measured(self, row: JobRow) -> tuple[str, float | None]:
        """Return the metric that a job monitors, and its value."""
        metric = str(read_record(Path(row.run) / "run.json")[0].get("monitor", ""))
        return (metric, row.result[metric]) if metric in row.result else ("", None)

    def _was_barren(self, row: JobRow) -> bool:
        """Whether the attempt before the last one has died before a first step too, since the user's last retry."""
        before = [attempt for attempt in self.ledger.attempts(row.number) if attempt.outcome == "crashed"]
        return row.crashes > 0 and bool(before) and before[-1].first_step is None

    def _stop_all(self, why: str) -> None:
        for running in self.running.values():
            running.stopped = running.stopped or why
            running.placement.stop()
        self._killing_at = time.monotonic() + self.settings.grace

    def _wait_for_jobs(self) -> None:
        """Wait until the jobs that were asked to stop have ended, when nothing can be recorded any more."""
        while time.monotonic() < self._killing_at:
            if all(running.placement.poll() is not None for running in self.running.values()):
                return
            time.sleep(TICK)

    def _terminate(self, signum: signal.Signals) -> None:
        again = self.ending in ENDINGS
        self.ending = signum
        if self.successor is not None:
            self.successor.forward(signum)
        if again:
            if signum == signal.SIGINT:
                self.say(f"{signum.name} again: {len(self.running)} job(s) killed")
                for running in self.running.values():
                    running.placement.kill()
            return
        self.say(
            f"{signum.name}: {len(self.running)} running job(s) write a checkpoint and end (Ctrl-C again kills them)"
        )
        self._stop_all("the sweep was stopped")

    # Looking after running jobs

    def _look_after_jobs(self) -> None:
        for running in self.running.values():
            progress = read_progress(running.assignment.folder)
            if progress is not None and progress != running.progress:
                running.progress, running.beat = progress, time.monotonic()
            self._take_reports(running)
            silent = time.monotonic() - running.beat
            if self.settings.timeout is not None and silent > self.settings.timeout and not running.stopped:
                running.stopped = f"no progress for {self.settings.timeout:g} s"
                self.say(f"job {running.number}: {running.stopped}; killed")
                running.placement.kill()
        if time.monotonic() - self._checked > 5:
            self._checked = time.monotonic()
            if not self._sources_said and self._sources_changed():
                self._sources_said = True
                self.say(
                    "the sources have changed: jobs go on with those that the master imported; SIGUSR2 takes the new"
                )

    def _take_reports(self, running: Running) -> None:
        """Show the sweeper each validation, also one that prunes nothing: it may miss its objective there."""
        folder = running.assignment.folder
        reports, running.reports_read = read_reports(folder, running.reports_read)
        for step, values in reports:
            prune = self.proposer.judge(self.ledger.job(running.number), step, values)
            if self.proposer.prunes:
                write_verdict(folder, step, prune)

    # Signals

    def _reconfigure(self) -> None:
        """SIGHUP: read launcher.yaml again, and lift a pause; a wrong file changes nothing."""
        self._set_paused(False)
        try:
            settings = read_settings(self.folder)
            added = self._add_jobs(settings.add)
            for number in [*settings.order, *settings.withdraw]:
                self.ledger.job(number)
        except LabError as error:
            self.say(f"SIGHUP: the old settings stay: {error}")
            return
        self.settings = settings
        self.ledger.set(workers=settings.workers)
        for turn, number in enumerate(settings.order):
            self.ledger.change(number, turn=turn - 1e6)
        self.drop(settings.withdraw)
        self.say(f"SIGHUP: {settings.workers} job(s) at a time, {settings.retries} retries; {added} job(s) added")

    def _add_jobs(self, lines: list[str]) -> int:
        jobs = [self.prepare(self.words_to_add(line)) for line in lines]
        known = {row.run for row in self.ledger.jobs()}
        new = [job for job in jobs if str(job.path) not in known]
        numbers = self.ledger.add([(job.words, str(job.path), {}) for job in new])
        self.prepared |= dict(zip(numbers, new, strict=True))
        return len(new)

    def words_to_add(self, line: str) -> list[str]:
        """Return the overrides of a further job: those that all jobs share, and those of the line."""
        import shlex

        from lab.config.words import word_key

        try:
            given = shlex.split(line)
        except ValueError as error:
            raise ConfigError(f"add: {line}: {error}") from None
        keys = {word_key(word) for word in given}
        return [*[word for word in self.ledger.get("shared", []) if word_key(word) not in keys], *given]

    def _reopen(self) -> None:
        for running in self.running.values():
            running.placement.reopen()
        self.say("SIGUSR1: log files opened again")

    def _change_code(self) -> None:
        if self.successor is None or self.handed_over:
            self.say("SIGUSR2: a new master cannot be started here")
            return
        self.say(self.successor.begin())

    def _follow_successor(self) -> None:
        """Hand over to a new master that is ready; take over again from one that has died."""
        word, happened = self.successor.look()
        if happened == "ready" and not self.ending:
            self.show.stop()  # the new master draws its own table
            self.say(word)
            self.handed_over = True
            self.ledger.close()
            self.successor.hand_over()
        elif happened == "failed":
            self.say(word)
            self.show.start()
            self.handed_over = False

    def _set_paused(self, paused: bool) -> None:
        if self.paused != paused:
            self.paused = paused
            self.ledger.set(paused=paused)
            self.say("paused: nothing is started" if paused else "resumed: jobs are started again")

    def _resize(self, change: int, signum: signal.Signals) -> None:
        workers = max(1, self.settings.workers + change)
        self.settings = self.settings.model_copy(update={"workers": workers})
        write_settings(self.folder, self.settings)
        self.ledger.set(workers=workers)
        self.say(f"{signum.name}: {workers} job(s) at a time")

    # Requests of lab sweep

    def _heed_requests(self) -> None:
        for request in self.ledger.take_requests():
            if request.verb in ("pause", "resume"):
                self._set_paused(request.verb == "pause")
            elif request.verb == "reload":
                self._reconfigure()
            elif request.verb == "retry":
                self.retry(request.jobs)
            elif request.verb == "drop":
                self.drop(request.jobs or [row.number for row in self.ledger.jobs() if row.state not in DONE])

    def retry(self, numbers: list[int]) -> None:
        """Let failed jobs wait again, these or all."""
        rows = [row for row in self.ledger.jobs(*BAD) if not numbers or row.number in numbers]
        for row in rows:
            self.ledger.change(row.number, state="waiting", crashes=0, not_before=0.0, problem="", tail="", ended=None)
        if rows:
            self.say(f"tried again: {', '.join(str(row.number) for row in rows)}")

    def drop(self, numbers: list[int]) -> None:
        """Take jobs out: waiting ones at once, running ones after a checkpoint."""
        for row in self.ledger.jobs():
            if row.number not in numbers or row.state in DONE:
                continue
            if row.number in self.running:
                self.running[row.number].stopped = "withdrawn"
                self.running[row.number].placement.stop()
            else:
                self.ledger.change(row.number, state="withdrawn", ended=time.time())
                self.proposer.learn(self.ledger.job(row.number))
                self.say(lines.withdrawn(self.label(row)))


def _in_foreground() -> bool:
    """Whether this process is in the foreground of its terminal, which sends SIGWINCH when its window changes."""
    try:
        with open("/dev/tty", "rb") as terminal:  # noqa: PTH123 - a device
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is none
        return False


def _make_empty(folder: Path) -> None:
    """Make the folder of a job; of an earlier attempt its early output stays, and its reports, which count on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("progress.json", "verdict.json", "word.json", "imported.json"):
        if os.path.lexists(folder / name):
            (folder / name).unlink()
