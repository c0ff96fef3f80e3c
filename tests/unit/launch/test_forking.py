"""A fork is a process of its own from its first moment on."""

from __future__ import annotations

import os
import signal
import time
from typing import NoReturn

from lab.launch.forking import fork
from lab.sweeps.notes import SignalNotes


def test_a_signal_to_a_new_fork_does_not_wake_its_parent() -> None:
    """A child begins with its parent's handlers and with the pipe by which they wake it: signals wait until they go."""
    ours = signal.SIGRTMIN + 5
    before = signal.signal(ours, lambda *_: None)
    ready, told = os.pipe()

    def child() -> NoReturn:
        os.read(ready, 1)
        time.sleep(0.05)  # a handler would run here
        os._exit(7 if ours in signal.sigpending() else 1)

    with SignalNotes() as notes:
        pid = fork(child)
        os.kill(pid, ours)
        os.write(told, b"g")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert notes.wait(0.0) == [signal.SIGCHLD]
    signal.signal(ours, before)
    os.close(ready)
    os.close(told)
