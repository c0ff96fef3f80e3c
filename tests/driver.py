"""The driver of ``tests/runs.py``: it imports lab and torch once and forks a child for each command.

A command that starts ranks forks these too, where it is not asked to start them afresh: the same code in processes of
their own, without the imports of torch that cost each six seconds.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Mapping
from typing import Any

_MODULES = (
    "faster_coco_eval",
    "lab.cli.main",
    "lab.config.checks",
    "lab.data.scenes.module",
    "lab.experiment.evaluation",
    "lab.experiment.fit",
    "lab.launch.worker",
    "lab.launch.workers",
    "lab.models.detr.network",
)


class ForkedRank:
    """What ``lab.launch.workers`` needs of a ``subprocess.Popen``: a rank's process, forked from this one."""

    def __init__(
        self,
        command: list[str],
        env: Mapping[str, str],
        stdin: int,
        stdout: int | None,
        stderr: int | None,
        pass_fds: list[int],
    ) -> None:
        assert command[1:] == ["-P", "-m", "lab.launch.worker"]
        assert (stdin, stdout, stderr) == (subprocess.PIPE, subprocess.PIPE, subprocess.STDOUT)  # no terminal here
        own_input, input_ = os.pipe()
        output, own_output = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _become_rank(env, own_input, own_output, pass_fds)
        os.close(own_input)
        os.close(own_output)
        self.stdin, self.stdout = os.fdopen(input_, "wb"), os.fdopen(output, "rb")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)


def _become_rank(env: Mapping[str, str], input_: int, output: int, pass_fds: list[int]) -> None:
    """Do in this fork what a fresh interpreter finds done, run the worker and end the process."""
    code: Any = 1
    try:
        os.dup2(input_, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - one of them is that of the listing
            if fd > 2 and fd not in pass_fds:
                try:
                    os.close(fd)
                except OSError:
                    continue
        sys.stdin = os.fdopen(0, "r", closefd=False)
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, os.fdopen(number, "w", closefd=False, buffering=1))
        os.environ.clear()
        os.environ.update(env)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        atexit._clear()
        from lab.launch.worker import main
        from lab.system.signals import run_watched

        sys.argv = ["lab.launch.worker"]
        code = run_watched(main)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        import multiprocessing.util

        multiprocessing.util._exit_function()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def _command(request: dict[str, Any]) -> None:
    """Be ``run.py WORDS`` in this fork."""
    os.setpgid(0, 0)
    for fd, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{request['log']}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), fd)
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if not request["fresh_ranks"]:
        from lab.launch import workers

        names = {"Popen": ForkedRank, "PIPE": subprocess.PIPE, "STDOUT": subprocess.STDOUT}
        workers.subprocess = types.SimpleNamespace(**names)  # type: ignore[assignment]
    sys.argv = ["run.py", *request["words"]]
    from lab.cli.main import main

    sys.exit(main())


def _serve() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            _command(request)


if __name__ == "__main__":
    sys.path[0] = ""  # as run.py and `python -m lab` are found: no folder of tests
    _serve()
