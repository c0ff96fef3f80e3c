"""Forks a process from one that has imported torch already, instead of starting a fresh interpreter.

A fork shares the memory of its parent and begins in hundredths of a second. It is a process of its own all the same:
its standard streams, descriptors, signal handlers, exit functions and random-number states are new.

The parent must not have computed with torch on several threads, nor hold a CUDA context: such a child would hang.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from lab.compat.python import forget_exit_functions, run_exit_functions

_HANDLED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
    signal.SIGWINCH,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGALRM,
)
"""Signals for which the parent may have handlers."""


def fork(child: Callable[[], NoReturn]) -> int:
    """Fork a process that calls ``child``; return its pid.

    Signals wait in the child until it unblocks them, so none reaches a handler of its parent, nor the descriptor by
    which its parent is woken. Call ``begin`` first.

    Raises:
        OSError: the operating system refuses another process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if not pid:
            try:
                child()
            finally:
                os._exit(1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def begin(
    streams: tuple[int, int, int], env: Mapping[str, str], keep: Collection[int] = (), blocked: Collection[int] = ()
) -> None:
    """Make a forked child a process of its own.

    Args:
        streams: the descriptors of its standard input, output and error.
        env: its environment variables, all of them.
        keep: further descriptors that stay open.
        blocked: signals that stay blocked.
    """
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum in _HANDLED:
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - one of them is that of the listing
        if descriptor > 2 and descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                continue
    sys.stdin = os.fdopen(0, "r", closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False, buffering=1)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1)
    os.environ.clear()
    os.environ.update(env)
    forget_exit_functions()
    _draw_anew()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _draw_anew() -> None:
    """Give the random-number generators of the process states of its own; a training sets them by its seed."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(random.getrandbits(63))


def leave(work: Callable[[], int]) -> NoReturn:
    """Do the work of a forked child and end its process with the exit code, as an interpreter would end."""
    code: Any = 1
    try:
        code = work()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            run_exit_functions()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code if isinstance(code, int) else int(code is not None))


def _know_rank(rank: int) -> None:
    """Let Lightning know the rank, which it has read from the environment when the parent imported it."""
    module = sys.modules.get("lightning_utilities.core.rank_zero")
    if module is not None:
        module.rank_zero_only.rank = rank


class ForkedRank:
    """A rank's process, forked from this one; it has the methods of ``subprocess.Popen`` that are used for ranks.

    Args:
        env: its environment variables.
        pass_fds: descriptors that stay open in it.
    """

    def __init__(self, env: Mapping[str, str], pass_fds: Collection[int]) -> None:
        own_input, input_ = os.pipe()
        output, own_output = os.pipe()

        def child() -> NoReturn:
            blocked = (signal.SIGINT, signal.SIGTERM)  # until the worker's handlers are set
            begin((own_input, own_output, own_output), env, pass_fds, blocked)
            _know_rank(int(env.get("RANK", 0)))
            from lab.launch.worker import main
            from lab.system.signals import run_watched

            leave(lambda: run_watched(main))

        self.pid = fork(child)
        os.close(own_input)
        os.close(own_output)
        self.stdin, self.stdout = os.fdopen(input_, "wb"), os.fdopen(output, "rb")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)


Rank = subprocess.Popen[bytes] | ForkedRank
