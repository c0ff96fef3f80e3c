"""Child processes: they die with their parent, end with their whole group, and their end in words. No torch."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; call this in the child, right after the fork.

    Args:
        parent: the pid of the parent; if it is gone already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), name="die-with-parent", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def poll_group(leader: int) -> int | None:
    """Return the exit code of a child that leads a process group, after killing what is left of the group.

    Returns:
        As in a shell, 128 + n for signal n; None while the leader runs.
    """
    # The leader is reaped last: as long as it is a zombie, no other process can have its number.
    if os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    signal_group(leader, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1])
    return code if code >= 0 else 128 - code


def signal_group(leader: int, signum: int) -> None:
    """Send a signal to all processes of a group; none may be left."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signum)


def end_in_words(exit_code: int) -> str:
    """Return how a process has ended: ``killed by SIGSEGV`` or ``exit code 3``."""
    try:
        name = signal.Signals(exit_code - 128).name
    except ValueError:
        return f"exit code {exit_code}"
    return f"killed by {name}" + (" (the kernel does so when memory is short)" if name == "SIGKILL" else "")
