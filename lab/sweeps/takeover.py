"""SIGUSR2: a new master, with the code as it now stands, takes over a sweep. The manner is nginx's change of binary.

The old master starts the same command again and goes on. When the new one has composed its jobs and imported its code,
it says so; then the old one starts nothing any more, releases the sweep, and lets its running jobs finish. It ends with
the new one's exit code. If the new one dies before it has come to its end, the old one goes on.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable

from lab.errors import RunError

CHANNEL = "LAB_TAKE_OVER"
"""The environment variable with the two descriptors by which a new master talks to the old one."""


class Successor:
    """The new master, as the old one sees it.

    Args:
        release: gives the sweep free.
        take_again: takes the sweep again.
        came_to_its_end: whether the ledger says that a master has ended the sweep.
    """

    def __init__(
        self, release: Callable[[], None], take_again: Callable[[], None], came_to_its_end: Callable[[], bool]
    ) -> None:
        self._release, self._take_again, self._came_to_its_end = release, take_again, came_to_its_end
        self._process: subprocess.Popen[bytes] | None = None
        self._reading = self._writing = -1
        self._has_sweep = False

    def begin(self) -> str:
        """Start a new master, unless one is on its way; return a line about it."""
        if self._process is not None:
            return f"SIGUSR2: a new master is on its way already, pid {self._process.pid}"
        self._reading, theirs = os.pipe()
        mine, self._writing = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            self._process = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, CHANNEL: f"{mine},{theirs}"},
                pass_fds=[mine, theirs],
                process_group=0,  # Ctrl-C reaches the old master, which forwards it
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(theirs)
            os.close(mine)
        return f"SIGUSR2: a new master is started, pid {self._process.pid}; this one goes on until it is ready"

    def look(self) -> tuple[str, str]:
        """Return a line to say, and what has happened: ``ready``, ``failed``, or nothing."""
        if self._process is None:
            return "", ""
        if (code := self._process.poll()) is not None:
            if self._has_sweep and self._came_to_its_end():
                return "", ""
            pid, had, self._process, self._has_sweep = self._process.pid, self._has_sweep, None, False
            self._close()
            if had:
                self._take_again()
            return f"the new master, pid {pid}, has ended with {code}: this one goes on", "failed"
        if not self._has_sweep and select.select([self._reading], [], [], 0)[0] and os.read(self._reading, 1):
            return f"the new master, pid {self._process.pid}, is ready: this one lets its running jobs finish", "ready"
        return "", ""

    def hand_over(self) -> None:
        """Give the sweep to the new master."""
        self._has_sweep = True
        self._release()
        os.write(self._writing, b"g")

    def has_ended(self) -> bool:
        """Whether the new master has come to its end."""
        return self._process is not None and self._process.poll() is not None

    @property
    def exit_code(self) -> int:
        """The new master's exit code."""
        code = self._process.returncode if self._process is not None else 1
        return code if code >= 0 else 128 - code

    def forward(self, signum: int) -> None:
        """Send a signal to the new master."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signum)

    def _close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


def is_successor() -> bool:
    """Whether an old master has started this process to take over."""
    return CHANNEL in os.environ


def wait_for_the_sweep() -> None:
    """In a new master: say that it is ready, and wait until the old one has released the sweep.

    Raises:
        RunError: the old one has gone.
    """
    reading, writing = map(int, os.environ.pop(CHANNEL).split(","))
    os.write(writing, b"r")
    got = os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    if not got:
        raise RunError("the old master ended before it had handed the sweep over; repeat the command")
