"""Undocumented parts of Python's standard library that are used: its exit functions, in a forked child."""

from __future__ import annotations

import atexit
import multiprocessing.util


def forget_exit_functions() -> None:
    """Forget, in a forked child, what its parent has registered with ``atexit``.

    They would undo what is the parent's: ``weakref.finalize``, for instance, would remove its temporary folders.
    """
    atexit._clear()


def run_exit_functions() -> None:
    """Do in a forked child, which ends by ``os._exit``, what the end of an interpreter does.

    The child's own exit functions run, and its loader processes end.
    """
    multiprocessing.util._exit_function()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
