"""What is used of Python's private side does what it is used for: each test has the name of its function."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, os, sys
from lab.compat.python import forget_exit_functions, run_exit_functions
atexit.register(print, "of the parent", flush=True)
if not os.fork():
    {forget}
    atexit.register(print, "of the child", flush=True)
    {run}
    os._exit(0)
os.wait()
"""


def printed(forget: str, run: str) -> list[str]:
    program = PROGRAM.format(forget=forget, run=run)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_forget_exit_functions() -> None:
    assert printed("forget_exit_functions()", "run_exit_functions()") == ["of the child", "of the parent"]


def test_run_exit_functions() -> None:
    assert printed("pass", "run_exit_functions()") == ["of the child", "of the parent", "of the parent"]
    assert printed("pass", "pass") == ["of the parent"]
