"""Signals of a master: only noted when they come, and handled by its loop."""

from __future__ import annotations

import os
import select
import signal
from types import TracebackType
from typing import Any, Self

NOTED = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class SignalNotes:
    """Within this context the signals of a master are noted, in the order in which they come.

    The handlers do nothing. Python writes the number of each signal into a pipe, from whichever thread the kernel has
    chosen, and ``wait`` reads it.
    """

    def __enter__(self) -> Self:
        """Set the handlers."""
        self._reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._writing = writing
        self._before = {signum: signal.signal(signum, _nothing) for signum in NOTED}
        self._wakeup_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the earlier handlers."""
        signal.set_wakeup_fd(self._wakeup_before)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        os.close(self._reading)
        os.close(self._writing)

    def wait(self, seconds: float, also: tuple[int, ...] = ()) -> list[signal.Signals]:
        """Return the signals that have come, after at most some seconds.

        Args:
            seconds: how long to wait for one.
            also: descriptors that end the wait when they can be read.
        """
        ready, _, _ = select.select([self._reading, *also], [], [], max(0.0, seconds))
        if self._reading not in ready:
            return []
        try:
            noted = os.read(self._reading, 4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in noted if number in NOTED]  # others are not ours: a package's own


def _nothing(signum: int, frame: Any) -> None:
    """Note nothing here: the number is in the pipe already."""
