"""Computes something in a forked process, so that the master itself never computes with torch."""

from __future__ import annotations

import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any


def run_aside(call: Callable[[], Any]) -> Any:
    """Return what a function returns in a child process that has a copy of this one's memory.

    Args:
        call: its result must be what JSON can hold; tuples come back as lists.

    Raises:
        RuntimeError: it failed, with its traceback, or its process was killed.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and newer warn of threads, which libraries have; the child uses one thread of torch.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(call, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    try:
        os.waitpid(child, 0)
    except ChildProcessError:  # somebody else has reaped it
        answer = answer or b"{}"
    found = json.loads(answer or b"{}")
    if "result" not in found:
        raise RuntimeError(found.get("error", "a process that proposes points was killed"))
    return found["result"]


def _answer(call: Callable[[], Any], writing: int) -> None:
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _use_one_thread()
        answer = {"result": call()}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    os._exit(0)


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)
