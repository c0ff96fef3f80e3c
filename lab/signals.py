"""SIGINT and SIGTERM: at once where nothing is lost by it, at the next optimizer step while training. No torch."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupted(BaseException):
    """A signal ends the run. No Exception: what catches any error of a library must not catch this.

    Attributes:
        exit_code: 128 + the signal's number.
    """

    def __init__(self, signum: int, where: str = "") -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}{where and ' '}{where}")
        self.exit_code = 128 + signum


class SignalWatch:
    """Within this context SIGINT and SIGTERM raise ``Interrupted``, or are kept in ``received`` while ``deferred``.

    A second SIGINT raises at once in any case. Outside of the main thread, where Python allows no handlers, nothing is
    changed.

    Attributes:
        received: the signal that came while ``deferred``.
        deferred: whether somebody looks at ``received`` soon.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals."""
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
        if threading.current_thread() is threading.main_thread():
            for signum, handler in self._before.items():
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self.deferred or (self.received is not None and signum == signal.SIGINT):
            raise Interrupted(signum)
        self.received = signum
        name = signal.Signals(signum).name
        # print() may have been interrupted itself, and refuses to be entered twice.
        os.write(2, f"\n{name}: stopping after this step (Ctrl-C again stops at once)\n".encode())
