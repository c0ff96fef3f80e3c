"""``launcher=slurm``: each attempt is a job of Slurm, submitted by sbatch from a script in the job's folder. No torch.

The batch script runs ``lab.sweeps.worker`` and leaves the exit code in a file. Together with squeue, asked for all jobs
in one call, this needs no accounting. Before the time limit Slurm sends USR1: the job writes a checkpoint, and Slurm
itself puts it into its queue again, as the same job of Slurm and the same attempt. All other ends are the ledger's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.errors import ConfigError
from lab.launch.jobs import processes
from lab.launch.prepare import Prepared
from lab.sweeps.placing import Assignment, Ended
from lab.sweeps.settings import SlurmLauncher
from lab.sweeps.slurm_commands import (
    QueueState,
    SlurmFailed,
    ask,
    cancel,
    require_slurm,
    start_now,
    submit,
    test_script,
)
from lab.sweeps.slurm_script import script_of
from lab.sweeps.worker import write_assignment
from lab.system.files import write_text
from lab.system.provenance import sources_fingerprint

MOST = 64
"""Jobs in the queue at a time, unless ``launcher.workers`` says otherwise."""
_SUBMITTED = "slurm.json"
"""The last job of Slurm of a job of the sweep: a new master takes it over if it still runs."""
_MISSED = 2
"""Answers of squeue without a job, or without its exit code, after which the job counts as lost."""
_KILLED, _INTERRUPTED = 137, (130, 143)


class SlurmPlacer:
    """Starts attempts by sbatch.

    Args:
        settings: the group ``launcher``.
        jobs: the jobs that are known at the start.

    Raises:
        ConfigError: Slurm's programs are missing, or sbatch would refuse a job.
    """

    def __init__(self, settings: SlurmLauncher, jobs: Sequence[Prepared]) -> None:
        require_slurm()
        self.settings = settings
        for job in {json.dumps(job.config["trainer"], sort_keys=True): job for job in jobs}.values():
            self._require_accepted(job)
        self._running: dict[int, SlurmPlacement] = {}
        self._asked = float("-inf")

    def workers(self, jobs: Sequence[Prepared]) -> tuple[int, str]:
        """Return how many of these jobs are in Slurm's queue at a time, and why."""
        if self.settings.workers is not None:
            return self.settings.workers, "launcher.workers"
        return max(1, min(len(jobs), MOST)), "Slurm's queue decides when each of them starts"

    def _require_accepted(self, job: Prepared) -> None:
        with TemporaryDirectory(prefix="lab-") as folder:
            trial = Assignment(1, 1, 0, job, Path(folder), Path(folder) / "test")
            script = Path(folder) / "test.sbatch"
            write_text(script, script_of(trial, self.settings, Path("none"), Path("none")))
            try:
                test_script(script)
            except SlurmFailed as error:
                raise ConfigError(f"launcher=slurm: Slurm refuses the jobs: {error}") from None

    def start(self, assignment: Assignment) -> SlurmPlacement:
        """Submit an attempt; or take over the job's earlier attempt, which a master that was killed has left running.

        Raises:
            SlurmFailed: sbatch refuses it.
            OSError: its files cannot be written.
        """
        placement = self._left_running(assignment.folder) or self._submit(assignment)
        self._running[placement.job] = placement
        self._asked = float("-inf")
        return placement

    def _submit(self, assignment: Assignment) -> SlurmPlacement:
        exit_file = _exit_file(assignment.folder, assignment.attempt)
        exit_file.unlink(missing_ok=True)
        sources = sources_fingerprint(assignment.prepared.config["extensions"])
        file = write_assignment(assignment, self._threads(assignment.prepared), sources)
        script = file.with_suffix(".sbatch")
        write_text(script, script_of(assignment, self.settings, file, exit_file.resolve()))
        job = submit(script)
        write_text(assignment.folder / _SUBMITTED, json.dumps({"job": job, "attempt": assignment.attempt}))
        return SlurmPlacement(self, job, exit_file)

    def has_left(self, folder: Path) -> bool:
        """Whether the last job of Slurm of a job of the sweep still runs, or waits in the queue."""
        try:
            return self._left_running(folder) is not None
        except SlurmFailed:  # not known: ``start`` asks again
            return True

    def _left_running(self, folder: Path) -> SlurmPlacement | None:
        try:
            content = json.loads((folder / _SUBMITTED).read_bytes())
            job, attempt = int(content["job"]), int(content["attempt"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        exit_file = _exit_file(folder, attempt)
        if job in self._running or exit_file.exists():
            return None
        state = ask([job]).get(job)
        if state is None or state.has_ended or state.state == "COMPLETING":
            return None
        return SlurmPlacement(self, job, exit_file, state)

    def _threads(self, job: Prepared) -> int | None:
        threads = self.settings.threads_per_job
        return None if threads is None else max(1, threads // processes(job.config))

    def look(self) -> None:
        """Ask squeue for the states of all running attempts, if it is time."""
        now = time.monotonic()
        if not self._running or now < self._asked + self.settings.poll:
            return
        self._asked = now
        try:
            states = ask(self._running)
        except SlurmFailed:  # the controller is restarted, perhaps: the jobs go on without it
            return
        for job, placement in self._running.items():
            placement.learn(states.get(job))

    def forget(self, job: int) -> None:
        """Ask for the state of a job no longer."""
        self._running.pop(job, None)

    def close(self) -> None:
        """Nothing is held: a job that still runs, because its master ends, goes on."""


@dataclass
class SlurmPlacement:
    """A job of Slurm that runs an attempt, or waits in the queue for it."""

    placer: SlurmPlacer
    job: int
    exit_file: Path
    state: QueueState | None = None
    stopped: bool = False
    killed: bool = False
    missed: int = 0
    _hurried: bool = False

    @property
    def place(self) -> str:
        """Its number and state in Slurm's queue: ``Slurm job 17, RUNNING on node3``."""
        return f"Slurm job {self.job}" + (f", {self.state.in_words()}" if self.state else "")

    @property
    def waits(self) -> bool:
        """Whether it is in the queue and has not begun, or waits to go on."""
        return self.state is None or self.state.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD")

    def learn(self, state: QueueState | None) -> None:
        """Take in an answer of squeue; None: it does not know the job any more."""
        if state is None or state.has_ended:
            self.missed += 1
        else:
            self.missed = 0
        self.state = state or self.state
        if state is not None and state.state == "PENDING" and state.reason == "BeginTime":
            self._hurry()
        elif state is not None and state.state == "RUNNING":
            self._hurried = False

    def _hurry(self) -> None:
        """Let a job that was put into the queue again start without Slurm's delay of two minutes."""
        settings = self.placer.settings
        if settings.requeue and not self._hurried and not any(word.startswith("--begin") for word in settings.sbatch):
            self._hurried = True
            try:
                start_now(self.job)
            except SlurmFailed:  # a site may forbid it: then it waits
                return

    def poll(self) -> Ended | None:
        """Return how it has ended; None while it runs or waits in the queue."""
        self.placer.look()
        code, why = self._word()
        over = self.missed >= _MISSED
        if code is None:
            if not over and not self._cannot_tell_more():
                return None
            stopped = self.stopped and not self.killed
            ended = Ended(143) if stopped else Ended(_KILLED, "" if self.killed else self._end_in_words())
        elif self.killed or code not in _INTERRUPTED or self.stopped:
            ended = Ended(_KILLED if self.killed else code)
        elif over or (self.state is not None and self.state.has_ended):
            said = f"Slurm job {self.job} wrote a checkpoint: {why}" if why else self._end_in_words()
            ended = Ended(_KILLED, said)
        else:
            return None  # squeue will tell who has ended it
        self.placer.forget(self.job)
        return ended

    def _word(self) -> tuple[int | None, str]:
        """Return what its script has left: the exit code, and why it was stopped early."""
        try:
            code, _, why = self.exit_file.read_text(encoding="utf-8").strip().partition(" ")
            return int(code), why
        except (OSError, ValueError):
            return None, ""

    def _cannot_tell_more(self) -> bool:
        """Whether it has ended in a way in which its script cannot leave an exit code later."""
        if self.state is None or not self.state.has_ended:
            return False
        return self.killed or self.state.state in ("CANCELLED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY")

    def _end_in_words(self) -> str:
        if self.state is not None and self.state.has_ended:
            return f"Slurm job {self.job} {self.state.end_in_words()}"
        return f"Slurm job {self.job} has left the queue, without an exit code"

    def stop(self) -> None:
        """Let it write a checkpoint and end; take it out of the queue if it has not begun."""
        self.stopped = True
        cancel(self.job, "--state=PENDING")
        cancel(self.job, "--signal=TERM", "--batch")

    def kill(self) -> None:
        """End it and all its processes at once: Slurm kills what a batch script leaves behind when it ends."""
        self.killed = True
        cancel(self.job, "--state=PENDING")
        cancel(self.job, "--signal=KILL", "--full")

    def reopen(self) -> None:
        """Let it open its log file again."""
        cancel(self.job, "--signal=USR2", "--batch")


def _exit_file(folder: Path, attempt: int) -> Path:
    return folder / f"exit-{attempt}"
