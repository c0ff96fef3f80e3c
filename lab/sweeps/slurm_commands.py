"""Calls of Slurm's programs: submit, ask for the states of all jobs at once, signal, cancel. No torch."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import ConfigError
from lab.sweeps.placing import NotNow
from lab.text import one_line

PATIENCE = 60.0
"""Seconds that a program of Slurm has: a busy controller answers late."""
_LATER = 3
"""Seconds until a job starts again: a node refuses it in the second in which it has ended there."""
_NEEDED = ("sbatch", "squeue", "scancel", "scontrol")
_ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "was cancelled (scancel)",
    "COMPLETED": "has ended",
    "DEADLINE": "reached its deadline",
    "FAILED": "has failed",
    "NODE_FAIL": "its node was lost",
    "OUT_OF_MEMORY": "used more memory than it had asked for",
    "PREEMPTED": "was preempted",
    "REVOKED": "was revoked",
    "TIMEOUT": "reached its time limit",
}
"""The states of a job that will not run again, in words."""


class SlurmFailed(NotNow):
    """A program of Slurm has failed; the message has its own words, in one line."""


@dataclass(frozen=True)
class QueueState:
    """What squeue says of a job.

    Attributes:
        state: such as ``RUNNING``, ``PENDING``, ``NODE_FAIL``.
        reason: why it waits.
        nodes: where it runs.
    """

    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it is over, and Slurm will not start it again."""
        return self.state in _ENDED

    def in_words(self) -> str:
        """Return ``PENDING (Priority)`` or ``RUNNING on node3``."""
        if self.nodes:
            return f"{self.state} on {self.nodes}"
        return f"{self.state} ({self.reason})" if self.reason not in ("", "None") else self.state

    def end_in_words(self) -> str:
        """Return what ``Slurm job 17`` did in the end."""
        words = _ENDED.get(self.state, "has ended")
        return f"{words} ({self.state})" if self.state not in ("CANCELLED", "COMPLETED", "FAILED") else words


def require_slurm() -> None:
    """Check that Slurm's programs are there.

    Raises:
        ConfigError: one is not.
    """
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f"launcher=slurm: there is no {', no '.join(missing)} on this machine; start the sweep on a login node of "
            "the cluster, or use launcher=local"
        )


def test_script(script: Path) -> None:
    """Ask sbatch whether it would take a script.

    Raises:
        SlurmFailed: it would not.
    """
    _call("sbatch", "--test-only", str(script))


def submit(script: Path) -> int:
    """Submit a script and return the job's number.

    Raises:
        SlurmFailed: sbatch refuses it, or the controller does not answer.
    """
    answer = _call("sbatch", "--parsable", str(script)).strip()
    number = answer.partition(";")[0]  # the cluster's name may follow
    if not number.isdigit():
        raise SlurmFailed(f"sbatch answered {one_line(answer)!r} instead of a job's number")
    return int(number)


def ask(jobs: Iterable[int]) -> dict[int, QueueState]:
    """Return the states of jobs in one call; a job that ended minutes ago is not among them.

    Raises:
        SlurmFailed: squeue does not answer.
    """
    numbers = ",".join(map(str, jobs))
    try:
        answer = _call("squeue", "--states=all", "--noheader", f"--jobs={numbers}", "--format=%A|%T|%r|%N")
    except SlurmFailed as error:
        if "Invalid job id" in str(error):  # said of a single job that is no longer known
            return {}
        raise
    found: dict[int, QueueState] = {}
    for line in answer.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, rest = rest.partition("|")
        reason, _, nodes = rest.rpartition("|")
        if number.isdigit():
            found[int(number)] = QueueState(state.split()[0] if state else "", reason, nodes)
    return found


def cancel(job: int, *options: str) -> None:
    """Cancel a job, or signal it: ``--signal=TERM``, ``--batch``; that it has ended meanwhile is no error.

    Raises:
        SlurmFailed: the controller does not answer.
    """
    try:
        _call("scancel", *options, str(job))
    except SlurmFailed as error:
        ended = ("Invalid job id", "already completed", "already completing", "Job/step already", "is pending")
        if not any(words in str(error) for words in ended):
            raise


def start_now(job: int) -> None:
    """Let a job that was put into the queue again start in some seconds; Slurm would wait two minutes.

    Raises:
        SlurmFailed: the controller refuses.
    """
    _call("scontrol", "update", f"JobId={job}", f"StartTime=now+{_LATER}")


def _call(*words: str) -> str:
    """Return the output of a program.

    Raises:
        SlurmFailed: it cannot be started, takes too long or fails.
    """
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise SlurmFailed(f"{words[0]} has not answered within {PATIENCE:g} seconds") from None
    except OSError as error:
        raise SlurmFailed(f"{words[0]}: {error.strerror}") from error
    if done.returncode:
        said = one_line(done.stderr) or one_line(done.stdout) or f"exit code {done.returncode}"
        raise SlurmFailed(said if said.startswith(words[0]) else f"{words[0]}: {said}")
    return done.stdout
