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
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, LabError
from lab.launch.prepare import Prepared
from lab.run_lock import is_locked
from lab.run_progress import Progress, read_progress, read_reports, write_verdict
from lab.run_record import read_record
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.notes import SignalNotes
from lab.sweeps.placing import Assignment, Ended, NotNow, Placement, Placer
from lab.sweeps.proposing import Proposer
from lab.sweeps.settings import LauncherFile
from lab.sweeps.setup import read_settings, write_settings
from lab.sweeps.states import BAD, DONE
from lab.sweeps.verdicts import Outcome, judge_end
from lab.text import printable

TICK = 0.2
"""Seconds between looks at the progress of jobs."""
ENDINGS = {signal.SIGTERM: 143, signal.SIGINT: 130}
NOT_NOW = 15.0
"""Seconds after which a job is tried again that the launcher could not start."""
_PATIENCE = 15.0
"""Seconds that a run directory may stay locked after the master that ran its job was killed."""


@dataclass
class Running:
    """An attempt that this master has started."""

    assignment: Assignment
    placement: Placement
    started: float
    place: str = ""
    progress: Progress | None = None
    beat: float = 0.0
    reports_read: int = 0
    stopped: str = ""
    asked: float = 0.0

    @property
    def number(self) -> int:
        """The job."""
        return self.assignment.number


@dataclass
class Show:
    """What a master shows; see ``lab.sweeps.view``.

    Attributes:
        line: prints a line about an event.
        update: shows the state of the sweep.
        close: ends the display.
    """

    line: Callable[[str], None]
    update: Callable[[Master], None]
    close: Callable[[], None]


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
                self.show.update(self)
                self.handle(notes.wait(self._pause()))
        except sqlite3.OperationalError:
            self._stop_all("the ledger cannot be written")
            raise
        finally:
            self._end_running()
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
        if signal.SIGWINCH in came:
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
        """Print a line about an event, and record it in the ledger and in master.log."""
        self.ledger.note("said", text)
        self.show.line(printable(text))

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
                self.ledger.change(number, state="refused", problem=str(error), exit_code=2, ended=time.time())
                self.say(f"[{number}] refused {self.shown(proposal.words)}: {error}")
                self.proposer.learn(self.ledger.job(number))
                continue
            (number,) = self.ledger.add([(proposal.words, str(prepared.path), proposal.point)])
            self.prepared[number] = prepared

    def _start(self, row: JobRow) -> bool:
        """Start an attempt of a waiting job; return whether it takes a place."""
        try:
            if row.number not in self.prepared:
                self.prepared[row.number] = self.prepare(row.words)
        except LabError as error:
            self.ledger.change(row.number, state="refused", problem=str(error), exit_code=2, ended=time.time())
            self.say(f"{self.title(row)}: refused: {error}")
            return False
        prepared = self.prepared[row.number]
        folder = self.folder / "jobs" / str(row.number)
        if is_locked(prepared.path) and not self.placer.has_left(
            folder
        ):  # by a process of a master that was killed, which dies at this moment
            if row.attempts and time.time() - row.not_before < _PATIENCE:
                return False
            self.ledger.change(row.number, state="refused", problem=f"{prepared.path} is in use", ended=time.time())
            self.say(f"{self.title(row)}: refused: {prepared.path} is in use by another process")
            return False
        slot = next(slot for slot in range(len(self.running) + 1) if slot not in self._slots())
        attempt = self.ledger.claim(row.number, self.holder, slot)
        if attempt is None:
            return False
        _make_empty(folder)
        waits = self.proposer.prunes
        assignment = Assignment(row.number, attempt, slot, prepared, folder, self.folder, waits)
        self.ledger.close()  # a fork must not have its connection
        try:
            placement = self.placer.start(assignment)
        except OSError as error:
            kind = "waiting" if isinstance(error, NotNow) else "crashed"
            outcome = Outcome(kind, f"cannot be started: {error.strerror}")
            self._record_end(self.ledger.job(row.number), attempt, outcome, 1, None)
            return True
        self.running[row.number] = Running(assignment, placement, time.time(), placement.place, beat=time.monotonic())
        self.ledger.place(row.number, attempt, placement.place)
        again = f", attempt {attempt}" if attempt > 1 else ""
        self.say(f"{self.title(row)}: started (slot {slot}, {placement.place}{again})")
        return True

    def _slots(self) -> set[int]:
        return {running.assignment.slot for running in self.running.values()}

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
        first = progress.first_step if progress else None
        now = time.time()
        job: dict[str, Any] = {"state": outcome.state, "problem": outcome.problem, "tail": outcome.tail}
        job |= {"exit_code": exit_code, "ended": now}
        words = f"{outcome.state}{': ' if outcome.problem else ''}{outcome.problem}"
        if outcome.state == "crashed":
            job["crashes"] = row.crashes + 1
            barren = first is None and self._was_barren(row)
            if row.crashes >= self.settings.retries:
                job["state"], words = "failed", f"failed: {outcome.problem}"
            elif barren:
                job["state"] = "poison"
                words = f"set aside: dead twice before a first step: {outcome.problem}"
            else:
                wait = self.settings.backoff * 2**row.crashes
                job |= {"state": "waiting", "not_before": now + wait, "ended": None}
                words = f"crashed: {outcome.problem}; tried again in {wait:g} s"
        elif outcome.state == "waiting":
            job |= {"not_before": now + NOT_NOW, "ended": None}
        elif outcome.state == "interrupted":
            job["ended"] = None
        if outcome.state in ("finished", "pruned"):
            job |= {"result": dict(result or {}), "tail": ""}
        self.ledger.end(
            row.number,
            attempt,
            outcome.state,
            job,
            exit_code=exit_code,
            first_step=first,
            last_step=progress.step if progress else None,
            problem=outcome.problem,
            tail=outcome.tail,
        )
        row = self.ledger.job(row.number)
        self.say(f"{self.title(row)}: {words}{self._numbers(row)}")
        if row.state in DONE | BAD:
            self.proposer.learn(row)

    def _was_barren(self, row: JobRow) -> bool:
        """Whether the attempt before the last one has died before a first step too, since the user's last retry."""
        before = [attempt for attempt in self.ledger.attempts(row.number) if attempt.outcome == "crashed"]
        return row.crashes > 0 and bool(before) and before[-1].first_step is None

    def _numbers(self, row: JobRow) -> str:
        shown = [(key, value) for key, value in row.result.items() if key.startswith("test/") and value is not None]
        return f": {shown[0][0]} {shown[0][1]:.4f}" if row.state == "finished" and shown else ""

    def title(self, row: JobRow) -> str:
        """Return the number, total and words of a job."""
        total = self.proposer.total
        return f"[{row.number}{f'/{total}' if total else ''}] {self.shown(row.words)}"

    def shown(self, words: list[str]) -> str:
        """Return those overrides of a job that not all jobs share."""
        shared = set(self.ledger.get("shared", []))
        return printable(" ".join([word for word in words if word not in shared] or words))

    def _stop_all(self, why: str) -> None:
        for running in self.running.values():
            running.stopped = running.stopped or why
            running.placement.stop()
        self._killing_at = time.monotonic() + self.settings.grace

    def _end_running(self) -> None:
        """Kill what still runs when an error ends the master."""
        for running in self.running.values():
            running.placement.kill()

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
        if not self.proposer.prunes:
            return
        folder = running.assignment.folder
        reports, running.reports_read = read_reports(folder, running.reports_read)
        for step, values in reports:
            prune = self.proposer.judge(self.ledger.job(running.number), step, values)
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
            self.say(word)
            self.handed_over = True
            self.ledger.close()
            self.successor.hand_over()
        elif happened == "failed":
            self.say(word)
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
            self.say(f"{self.title(row)}: withdrawn")

    def counts(self) -> Counter[str]:
        """Return the number of jobs in each state."""
        return self.ledger.counts()


def _make_empty(folder: Path) -> None:
    """Make the folder of a job, without files of an earlier attempt but its early output."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("progress.json", "reports.jsonl", "verdict.json", "word.json", "imported.json"):
        if os.path.lexists(folder / name):
            (folder / name).unlink()
