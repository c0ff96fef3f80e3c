"""Handles SIGINT and SIGTERM: at the next optimizer step while training, at once otherwise. No torch.

An exception that a handler raises during an import or a destructor is turned into another error, or is swallowed. So
during these a signal is only recorded, and it takes effect as soon as they are over.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class Interrupted(BaseException):
    """A signal ends the run. A BaseException, so that code which catches any error of a library does not catch it.

    Attributes:
        signum: the signal's number.
        where: the progress of the run; may be empty.
        exit_code: 128 + the signal's number.
    """

    def __init__(self, signum: int, where: str = "") -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}{where and ' '}{where}")
        self.signum, self.where, self.exit_code = signum, where, 128 + signum


_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_PAUSE = 0.02
"""Seconds between checks whether an import is over."""
_STUCK = 5.0
"""Seconds after which a main thread that has not handled a signal is assumed to be stuck in C++."""
_watches: list[SignalWatch] = []
"""The active contexts, the innermost last."""


class SignalWatch:
    """Within this context SIGINT and SIGTERM raise ``Interrupted``, or are kept in ``received`` while ``deferred``.

    A second SIGINT always raises at once. Outside of the main thread, where Python allows no handlers, nothing is
    changed.

    Attributes:
        received: the signal that came while ``deferred``.
        deferred: whether a training will check ``received`` after its current step.
        handled: the time of the last signal that this context handled.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False
        self.handled = 0.0
        self._before: dict[int, Any] = {}
        self._entered: FrameType | None = None
        self._noted = 0
        self._alarm_before: Any = None

    def __enter__(self) -> Self:
        """Set the signal handlers."""
        self._entered = sys._getframe(1)
        _watches.append(self)
        self._before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
        self.install()
        return self

    def install(self) -> None:
        """Set the signal handlers again, if other code has replaced them."""
        if threading.current_thread() is threading.main_thread():
            for signum in self._before:
                signal.signal(signum, self._handle)

    def __exit__(self, *exception: object) -> None:
        """Restore the earlier signal handlers."""
        self._entered = None
        _watches.remove(self)
        if threading.current_thread() is threading.main_thread():
            for signum, handler in self._before.items():
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.handled = time.monotonic()
        if self._is_untimely(frame):
            if not self._noted:
                self._alarm_before = signal.signal(signal.SIGALRM, self._look_again)
                signal.setitimer(signal.ITIMER_REAL, _PAUSE, _PAUSE)
            self._noted = signum
        else:
            self._act(signum)

    def _is_untimely(self, frame: FrameType | None) -> bool:
        """Whether an import or a destructor that began inside this context is running."""
        while frame is not None and frame is not self._entered:
            if frame.f_code.co_filename in _IMPORTING or frame.f_code.co_name == "__del__":
                return True
            frame = frame.f_back
        return False

    def _look_again(self, signum: int, frame: FrameType | None) -> None:
        if not self._is_untimely(frame):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._alarm_before)
            noted, self._noted = self._noted, 0
            self._act(noted)

    def _act(self, signum: int) -> None:
        if not self.deferred or (self.received is not None and signum == signal.SIGINT):
            raise Interrupted(signum)
        self.received = signum
        name = signal.Signals(signum).name
        # print() may be what was interrupted, and it cannot be re-entered.
        os.write(2, f"\n{name}: stopping after this step (Ctrl-C again stops at once)\n".encode())


def run_watched(command: Callable[[], int]) -> int:
    """Run a command with signal handlers from its first import on, and return its exit code.

    The command prints its own errors; this function prints nothing. A signal before the handlers are set, or after they
    are removed, while libraries shut down, ends the process at once.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # the handlers that the watch restores, so that there is no gap
            signal.signal(signum, lambda number, frame: os._exit(128 + number))
    try:
        with SignalWatch():
            return command()
    except Interrupted as interrupted:
        return interrupted.exit_code


def end_when_stuck() -> None:
    """End this process at a signal that its main thread cannot handle, unless it is training.

    A rank waits for the others inside C++, where no Python handler runs, and an interrupted rank never arrives.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch_for_stuck, args=(reading,), name="end-when-stuck", daemon=True).start()


def _watch_for_stuck(reading: int) -> None:
    while signum := os.read(reading, 1):
        if signum[0] not in (signal.SIGINT, signal.SIGTERM):
            continue
        came = time.monotonic()
        time.sleep(_STUCK)
        seen = max((watch.handled for watch in _watches), default=0.0)
        if seen < came - 1 and not any(watch.deferred for watch in _watches):
            os._exit(128 + signum[0])
