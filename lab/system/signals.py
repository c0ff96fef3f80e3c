"""SIGINT and SIGTERM: at once where nothing is lost by it, at the next optimizer step while training. No torch.

An exception that a handler raises amid an import or a destructor is turned into another error there, or is swallowed:
there a signal is noted, and acts as soon as that is over.
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
    """A signal ends the run. No Exception: what catches any error of a library must not catch this.

    Attributes:
        signum: the signal's number.
        where: how far the run has come; may be empty.
        exit_code: 128 + the signal's number.
    """

    def __init__(self, signum: int, where: str = "") -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}{where and ' '}{where}")
        self.signum, self.where, self.exit_code = signum, where, 128 + signum


_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_PAUSE = 0.02
"""Seconds until it is looked again whether an import is over."""
_STUCK = 5.0
"""Seconds after which a main thread that has not seen a signal is taken to wait in C++ for what never comes."""
_watches: list[SignalWatch] = []
"""The contexts that are entered, the innermost last."""


class SignalWatch:
    """Within this context SIGINT and SIGTERM raise ``Interrupted``, or are kept in ``received`` while ``deferred``.

    A second SIGINT raises at once in any case. Outside of the main thread, where Python allows no handlers, nothing is
    changed.

    Attributes:
        received: the signal that came while ``deferred``.
        deferred: whether somebody looks at ``received`` soon.
        handled: when a signal was last seen by this context.
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
        """Take over the signals."""
        self._entered = sys._getframe(1)
        _watches.append(self)
        self._before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
        self.install()
        return self

    def install(self) -> None:
        """Take over the signals from whoever has since."""
        if threading.current_thread() is threading.main_thread():
            for signum in self._before:
                signal.signal(signum, self._handle)

    def __exit__(self, *exception: object) -> None:
        """Give the signals back."""
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
        """Whether, since this context began, an import or a destructor is under way."""
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
        # print() may have been interrupted itself, and refuses to be entered twice.
        os.write(2, f"\n{name}: stopping after this step (Ctrl-C again stops at once)\n".encode())


def run_watched(command: Callable[[], int]) -> int:
    """Run a command with the signals watched from its first import on, and return its exit code.

    What ends it is said where it is known; here it is silent. A signal before the watch begins or after it has ended,
    when libraries take leave, ends the process at once.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # what the watch gives back, without a gap
            signal.signal(signum, lambda number, frame: os._exit(128 + number))
    try:
        with SignalWatch():
            return command()
    except Interrupted as interrupted:
        return interrupted.exit_code


def end_when_stuck() -> None:
    """End this process at a signal that its main thread does not get to see, unless it is training.

    A rank waits for the others inside C++, where no Python handler runs; one that was interrupted never comes.
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
