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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.run_lock import is_locked
from lab.run_progress import read_progress, read_reports, write_verdict
from lab.run_record import read_record
from lab.sweeps import lines
from lab.sweeps.ends import put_off, record_end, refuse
from lab.sweeps.ledger import JobRow
from lab.sweeps.notes import SignalNotes
from lab.sweeps.placing import Assignment, Ended, NotNow
from lab.sweeps.state import Running, SweepState
from lab.sweeps.verdicts import Outcome, judge_end
from lab.sweeps.wishes import heed_requests, reconfigure, resize, set_paused

TICK = 0.2
"""Seconds between looks at the progress of jobs."""
ENDINGS = {signal.SIGTERM: 143, signal.SIGINT: 130}
_PATIENCE = 15.0
"""Seconds that a run directory may stay locked after the master that ran its job was killed."""


@dataclass
class Master(SweepState):
    """Runs a sweep.

    Attributes:
        successor: the new master that SIGUSR2 starts (``lab.sweeps.takeover``); None if there can be none.
        ending: the signal that ends the sweep: SIGTERM, SIGINT, or SIGQUIT to let the running jobs finish; 0 if none.
        handed_over: whether the new master has the sweep.
    """

    successor: Any = None
    ending: int = 0
    handed_over: bool = False
    _killing_at: float = 0.0
    _checked: float = 0.0
    _sources_said: bool = False

    def run(self, notes: SignalNotes, sources_changed: Callable[[], bool]) -> int:
        """Run jobs until none is left or a signal ends the sweep; return 0, 130 or 143.

        Args:
            notes: the signals.
            sources_changed: whether the sources differ from those that this process has imported.
        """
        self._sources_changed = sources_changed
        try:
            heed_requests(self)  # those of the time when no master ran
            while True:
                self._start_jobs()
                if self._is_over():
                    break
                if not self.handed_over:
                    self.show.update({number: job.progress for number, job in self.running.items() if job.progress})
                self.handle(notes.wait(self._pause()))
        except (LabError, OSError, sqlite3.DatabaseError) as error:
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
            reconfigure(self)
        if signal.SIGUSR1 in came:
            self._reopen()
        if signal.SIGUSR2 in came:
            self._change_code()
        if signal.SIGWINCH in came and not _in_foreground():
            set_paused(self, True)
        for signum, change in ((signal.SIGTTIN, 1), (signal.SIGTTOU, -1)):
            if signum in came:
                resize(self, change * came.count(signum), signum)
        if self.successor is not None:
            self._follow_successor()
        self._look_after_jobs()
        heed_requests(self)
        if self._killing_at and time.monotonic() > self._killing_at:
            self._killing_at = 0.0
            for running in self.running.values():
                self.say(f"job {running.number}: not ended after {self.settings.grace:g} s; killed")
                running.placement.kill()

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
                refuse(self, number, str(error))
                continue
            (number,) = self.ledger.add([(proposal.words, str(prepared.path), proposal.point)])
            self.prepared[number] = prepared

    def _start(self, row: JobRow) -> bool:
        """Start an attempt of a waiting job; return whether it takes a place."""
        try:
            if row.number not in self.prepared:
                self.prepared[row.number] = self.prepare(row.words)
        except LabError as error:
            refuse(self, row.number, str(error))
            return False
        prepared = self.prepared[row.number]
        folder = self.folder / "jobs" / str(row.number)
        if is_locked(prepared.path) and not self.placer.has_left(folder):
            # By a process of a master that was killed, which dies at this moment.
            if row.attempts and time.time() - row.not_before < _PATIENCE:
                return False
            refuse(self, row.number, f"{prepared.path} is in use by another process")
            return False
        slot = min(set(range(len(taken := self.ledger.slots()) + 1)) - taken)
        attempt = self.ledger.claim(row.number, self.holder, slot)
        if attempt is None:
            return False
        _make_empty(folder)
        waits = self.proposer.prunes
        assignment = Assignment(row.number, attempt, slot, prepared, folder, self.folder, waits)
        try:
            placement = self.placer.start(assignment)
        except NotNow as error:
            put_off(self, row, attempt, str(error))
            return True
        except OSError as error:
            outcome = Outcome("crashed", f"cannot be started: {error.strerror}")
            record_end(self, self.ledger.job(row.number), attempt, outcome, 1, None)
            return True
        self.running[row.number] = Running(assignment, placement, time.time(), placement.place, beat=time.monotonic())
        self.ledger.place(row.number, attempt, placement.place)
        self.say(lines.started(self.label(row), slot, attempt))
        return True

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
        record_end(self, row, assignment.attempt, outcome, ended.exit_code, running.progress, result)

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
            if running.placement.place != running.place:
                running.place = running.placement.place
                self.ledger.place(running.number, running.assignment.attempt, running.place)
            if running.placement.waits:
                running.beat = time.monotonic()
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
