"""How many cores this process may use, and how many of them nobody else keeps busy. No torch."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

NUM_THREADS, WAIT_POLICY = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"
"""OpenMP's variables; it reads them when torch is loaded."""
SECONDS = 0.05
"""How long a probe of the cores takes."""
OWN = 0.85
"""A thread that got this share of the probe's time had a core to itself."""
_BLOCK = bytes(1 << 20)
"""Hashed by each thread without Python's global lock; about a millisecond."""


def usable_cores() -> int:
    """Return the number of logical processors that this process may run on."""
    return len(_allowed())


def full_cores() -> int:
    """Return the number of cores behind them: two processors of one core count once, as PyTorch does by default."""
    folder = Path("/sys/devices/system/cpu")
    try:
        siblings = {
            (folder / f"cpu{number}/topology/thread_siblings_list").read_text(encoding="ascii") for number in _allowed()
        }
    except OSError:  # not Linux, or a sandbox that does not say
        return usable_cores()
    return len(siblings)


def free_cores(cores: int, seconds: float = SECONDS) -> int:
    """Measure how many of the cores other work leaves to this process, at most ``cores``.

    As many threads as cores compute for a moment; those count that ran nearly all the time. So processes beside this
    one, quotas and neighbours of a virtual machine count too. The better of two moments counts, unless the first was
    undisturbed.

    Args:
        cores: how many to ask for.
        seconds: the length of one moment; a core is used for as long.
    """
    found = 0
    for _ in range(2):
        found = max(found, sum(share >= OWN for share in _shares(cores, seconds)))
        if found == cores:
            break
    return found


def _shares(count: int, seconds: float) -> list[float]:
    """Return for each of several threads the share of the time, which is the same for all, in which it ran."""
    shares = [0.0] * count
    began: list[float] = []
    ready = threading.Barrier(count, action=lambda: began.append(time.perf_counter()))

    def compute(number: int) -> None:
        ready.wait()  # a thread that has to wait for a core after this has not had it
        had = time.thread_time()
        while (passed := time.perf_counter() - began[0]) < seconds:
            hashlib.sha256(_BLOCK)
        shares[number] = (time.thread_time() - had) / passed

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return shares


def _allowed() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
