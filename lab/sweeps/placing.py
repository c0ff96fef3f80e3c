"""What a launcher is to the master: it starts attempts of jobs somewhere, and tells how they end. No torch."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.launch.prepare import Prepared


@dataclass(frozen=True)
class Assignment:
    """One attempt of a job, for a launcher to start.

    Attributes:
        number: the job.
        attempt: from 1 on.
        slot: the slot, from 0 on.
        prepared: the composed and checked job.
        folder: the attempt's own folder: the job writes its progress, its reports and its first output there
            (``lab.run_progress``).
        sweep: the sweep's directory, which the run records.
        waits: whether the job waits for a verdict after each validation, because the search may prune it.
    """

    number: int
    attempt: int
    slot: int
    prepared: Prepared
    folder: Path
    sweep: Path
    waits: bool = False


@dataclass(frozen=True)
class Ended:
    """How an attempt has ended.

    Attributes:
        exit_code: as in a shell: 128 + n for signal n.
        problem: why, in one line, as far as the launcher knows: ``killed by SIGKILL``, ``its node was lost``; the job's
            own last word (``lab.run_progress.last_word``) is more exact where there is one.
        stopped: whether the launcher itself has stopped it, so that it did not crash.
    """

    exit_code: int
    problem: str = ""
    stopped: bool = False


class NotNow(OSError):
    """A launcher cannot start a job at this time, through no fault of the job: it is tried again later."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EAGAIN, why)

    def __str__(self) -> str:
        return str(self.strerror)


class Placement(Protocol):
    """A running attempt."""

    @property
    def place(self) -> str:
        """Where it runs: ``pid 123 on host``, ``Slurm job 17``."""

    @property
    def waits(self) -> bool:
        """Whether it is in a queue and has not begun, so that it makes no progress."""

    def poll(self) -> Ended | None:
        """Return how it has ended, once all its processes are gone; None while it runs."""

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""

    def kill(self) -> None:
        """End it and all its processes at once."""

    def reopen(self) -> None:
        """Let it open its log file again, which was renamed."""


class Placer(Protocol):
    """A launcher: it has places for some jobs at a time."""

    def workers(self, jobs: Sequence[Prepared]) -> tuple[int, str]:
        """Return how many of these jobs fit at a time, and why, in words."""

    def has_left(self, folder: Path) -> bool:
        """Whether an attempt that an ended master has started goes on elsewhere; ``start`` takes it over.

        Args:
            folder: the job's own folder.
        """

    def start(self, assignment: Assignment) -> Placement:
        """Start an attempt.

        Raises:
            NotNow: it has to be tried again later.
            OSError: the operating system refuses another process.
        """

    def close(self) -> None:
        """Give back what the launcher holds, after the last attempt has ended."""
