"""Computes something in a forked process, so that the master itself never computes with torch."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from lab.launch.forking import begin, fork, leave
from lab.system.processes import die_with_parent, poll_group, signal_group

_POLL = 0.005


def run_aside(call: Callable[[], Any], patience: float | None = None) -> Any:
    """Return what a function returns in a child process that has a copy of this one's memory; its output is dropped.

    Args:
        call: its result must be what JSON can hold; tuples come back as lists.
        patience: seconds to wait for it; None: as long as it takes.

    Raises:
        RuntimeError: it failed, with its traceback, took too long, or its process was killed.
    """
    reading, writing = os.pipe()
    parent = os.getpid()

    def child() -> NoReturn:
        os.setpgid(0, 0)
        die_with_parent(parent)
        nothing = os.open(os.devnull, os.O_RDWR)
        begin((nothing, nothing, nothing), dict(os.environ), keep=(writing,))
        leave(lambda: _answer(call, writing))

    with warnings.catch_warnings():
        # Python 3.12 and newer warn of threads, which libraries have; the child uses one thread of torch.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = fork(child)
    os.close(writing)
    answer = _read(reading, patience)
    signal_group(pid, signal.SIGKILL)
    while poll_group(pid) is None:
        time.sleep(_POLL)
    try:
        found = json.loads(answer)
    except ValueError:
        raise RuntimeError("a process that computes beside the master was killed, or took too long") from None
    if "result" not in found:
        raise RuntimeError(found["error"])
    return found["result"]


def _read(pipe: int, patience: float | None) -> bytes:
    """Return what is written into a pipe until its other end is closed, or time is over."""
    end = None if patience is None else time.monotonic() + patience
    pieces: list[bytes] = []
    with os.fdopen(pipe, "rb", buffering=0) as opened:
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([opened], [], [], left)[0]:
                return b""
            if not (piece := opened.read(65536)):
                return b"".join(pieces)
            pieces.append(piece)


def _answer(call: Callable[[], Any], writing: int) -> int:
    import torch

    torch.set_num_threads(1)
    try:
        answer = {"result": call()}
    except Exception:
        answer = {"error": traceback.format_exc()}
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    return 0
