"""One measured point: a size, in a process of its own that has a limit of memory and of time."""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import select
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Values = dict[str, float]
MEMORY = "memory, MiB"
"""The peak of a point's process above what it had at its start."""


@dataclass(frozen=True)
class Study:
    """Something that grows.

    Attributes:
        what: its name in the table.
        axis: what is counted: images, items.
        sizes: the sizes that are measured, ascending.
        quick: those of ``--quick``.
        measure: measures one size; it may write below a folder. Names of times end with ``, s``.
    """

    what: str
    axis: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    measure: Callable[[int, Path], Values]


@dataclass(frozen=True)
class Limits:
    """What a point may take: GiB of memory of one process (``RLIMIT_DATA``), and seconds."""

    memory: float = 8.0
    seconds: float = 300.0


def memory(name: str = "VmRSS") -> float:
    """Return this process's resident memory in MiB, or with ``VmHWM`` its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {name}")


def seconds(work: Callable[[], Any], rounds: int = 5, enough: float = 1.0) -> float:
    """Return the processor seconds of a call: the median of some after the first, in which memory is first touched.

    Args:
        work: what to call.
        rounds: calls after the first, at most; 0 for work that is done once, of which the first call counts.
        enough: seconds after which no further call begins, once there is one after the first.
    """
    taken: list[float] = []
    while len(taken) <= rounds and (len(taken) < 2 or sum(taken) < enough):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:] or taken)


def apart(work: Callable[[], Values], limits: Limits | None = None) -> tuple[Values, str]:
    """Return what a call returns in a fork of this process, and how it failed or ``""``.

    Args:
        work: what to call.
        limits: of the fork; None for none, as in a fork within a point.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(work, limits, writing)
    os.close(writing)
    text, late = _read(reading, None if limits is None else time.monotonic() + limits.seconds)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if late and limits is not None:
        return {}, f"not done after {limits.seconds:.0f} s"
    if not text:
        return {}, f"the process ended with {os.waitstatus_to_exitcode(status)}"
    values, problem = json.loads(text)
    return values, problem


def _answer(work: Callable[[], Values], limits: Limits | None, writing: int) -> None:
    """Do the work in this process, write what it gave, and end."""
    answer: tuple[Values, str]
    gc.freeze()  # else each collection would go through, and so copy, what this process shares with its parent
    try:
        if limits is not None:
            most = int(limits.memory * 2**30)
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        before = memory()
        values = work()
        # A point whose commands run in processes of their own has the memory of each of them.
        apart_too = any(f"{name.removesuffix(', MiB')}, s" in values for name in values if name.endswith(", MiB"))
        answer = (values if apart_too else {MEMORY: max(0.0, memory("VmHWM") - before)} | values, "")
    except BaseException as error:  # any: how it breaks is what is measured
        first = str(error).strip().splitlines()
        answer = ({}, f"{type(error).__name__}: {first[0] if first else ''}"[:300])
    sys.stderr.flush()
    with os.fdopen(writing, "w") as pipe:
        json.dump(answer, pipe)
    os._exit(0)


def _read(reading: int, end: float | None) -> tuple[str, bool]:
    """Return what comes through a pipe until it is closed, and whether that took too long."""
    parts: list[bytes] = []
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while True:
            if end is not None and not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                return "", True
            part = pipe.read(65536)
            if not part:
                return b"".join(parts).decode(), False
            parts.append(part)


def slope(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the exponent of growth between the two largest sizes; None if there are no two positive values."""
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(points) < 2:
        return None
    (first, low), (last, high) = points[-2:]
    return math.log(high / low) / math.log(last / first)
