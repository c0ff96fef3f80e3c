"""Which of several ways to compute the same is the fastest on this machine: measured once, and kept.

A kernel that wins on one processor loses on another. So each class of shapes is timed when it is first met, for some
tens of milliseconds, and the answer is kept in ``~/.cache/lab/kernels`` (or ``LAB_KERNELS_DIR``): one file for
each processor, version of torch and number of threads. Later processes read it, so that the same command gives the same
bits on the same machine.

``LAB_KERNELS=torch`` switches lab's own kernels off. With ``LAB_KERNELS=fixed``, and under
``torch.use_deterministic_algorithms``, nothing is measured and PyTorch's way is taken, on every machine the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lab.errors import ConfigError
from lab.system.files import replacing

ROUNDS, LEAST_ROUNDS = 4, 2
"""Timings of each way: the least counts, the first fills caches."""
ENOUGH = 50.0
"""Milliseconds after which no further round begins."""
ONCE, AGAIN = 10.0, 2
"""Milliseconds below which a first call is repeated at once, and how often: oneDNN compiles a kernel for each shape in
it, and a process's very first calls take memory that the later ones find."""
LOST = 1.5
"""A way that took this many times as long as the best in the first round is timed no more."""
SAMPLE = 1 << 30
"""Multiplications of a timing, at most: about 20 ms on one core. On less, what any call costs
would count too much."""
MARGIN = 0.95
"""A way of lab's own is taken where it needs less than this share of the time of PyTorch's."""
PATIENCE = 5.0
"""Seconds to wait for another process that measures."""
_VERSION = 6
"""Of the ways; a table of another one is measured anew."""
_timed = 0
"""How often ways were timed in this process."""
_DESCRIBING = ("model name", "cpu family", "model", "stepping", "cache size")

KERNELS = ("measured", "fixed", "torch")
"""What the variable LAB_KERNELS may say."""

Timings = Mapping[str, Callable[[], object]]
"""By name; PyTorch's own, ``PYTORCH``, is always among them."""
PYTORCH = "torch"


@cache
def kernels() -> str:
    """Return which kernels may be used, as the variable LAB_KERNELS says when it is first asked for.

    ``measured`` (the default): the fastest way on this machine; ``fixed``: lab's own where there is one way, PyTorch's
    where there are several, so that every machine takes the same; ``torch``: none of lab's own.

    Raises:
        ConfigError: the variable is none of these.
    """
    said = os.environ.get("LAB_KERNELS") or "measured"
    if said not in KERNELS:
        raise ConfigError(f"LAB_KERNELS={said}: it is one of {', '.join(KERNELS)}")
    return said


def size_class(count: int) -> int:
    """Return the class of a number of rows or pixels: within one, numbers differ by at most a factor of two."""
    return max(count, 1).bit_length()


class Choices:
    """The table of one processor, version of torch and number of threads.

    Args:
        path: the file; where it cannot be written, what is measured holds for this process.
        about: what the table holds for, written beside it.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, dict(about)
        self._chosen: dict[tuple[str, tuple[int, ...]], str] = {}
        self._lock = threading.RLock()
        self._writable: bool | None = None  # while ways are timed: whether the file is locked for this process

    def fastest(self, product: str, shape: tuple[int, ...], make: Callable[[], Timings]) -> str:
        """Return the name of the fastest way.

        Args:
            product: what is computed.
            shape: the class of its sizes.
            make: returns the ways, on inputs of this class that need a few milliseconds at most; called only where
                there is no answer yet.
        """
        if kernels() != "measured" or torch.are_deterministic_algorithms_enabled():
            return PYTORCH
        found = self._chosen.get((product, shape))
        return self._ask(product, shape, make) if found is None else found

    def _ask(self, product: str, shape: tuple[int, ...], make: Callable[[], Timings]) -> str:
        name = f"{product} {' '.join(map(str, shape))}"
        with self._lock, torch.no_grad():
            ways = make()
            # A way may itself ask for another choice while it is timed: the file is locked already then.
            with _alone(self.path) if self._writable is None else nullcontext(self._writable) as writable:
                entry = self._read().get(name, {})
                if entry.get("way") not in ways:
                    entry = self._measured(ways, writable)
                    if writable:
                        with suppress(OSError):  # a full disk
                            self._write({**self._read(), name: entry})
            self._chosen[product, shape] = str(entry["way"])
        return self._chosen[product, shape]

    def _measured(self, ways: Timings, writable: bool) -> dict[str, Any]:
        """Return the entry of some ways: their times and which is taken."""
        before, self._writable = self._writable, writable
        try:
            times = timed(ways)
        finally:
            self._writable = before
        least = min(times, key=lambda way: times[way])
        way = least if times[least] < MARGIN * times[PYTORCH] else PYTORCH
        return {"way": way, "ms": {each: round(took, 4) for each, took in times.items()}}

    def _read(self) -> dict[str, dict[str, Any]]:
        """Return the entries of the file; none where it is damaged or of another kind."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            entries = found["chosen"] if found["about"] == self.about else {}
            return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _write(self, entries: Mapping[str, Any]) -> None:
        with replacing(self.path, synced=False) as file:
            json.dump({"about": self.about, "chosen": dict(sorted(entries.items()))}, file, indent=1)


def choices() -> Choices:
    """Return the table for this process's present number of threads."""
    return _choices(torch.get_num_threads())


@cache
def _choices(threads: int) -> Choices:
    about = {
        "version": _VERSION,
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": threads,
    }
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = os.environ.get("LAB_KERNELS_DIR") or Path.home() / ".cache" / "lab" / "kernels"
    return Choices(Path(folder).expanduser() / f"{name}.json", about)


def processor() -> dict[str, str]:
    """Return what tells one processor from another: several share one name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {"model name": platform.processor() or platform.machine()}
    fields = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in fields if key.strip() in _DESCRIBING}


def timed(ways: Timings) -> dict[str, float]:
    """Return the least time of each way in ms, rounds interleaved.

    With one thread it is the thread's own time, which other work hardly changes; with several that of the clock. A call
    in which other ways were timed, because it had to choose, is repeated.
    """
    global _timed
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    least = dict.fromkeys(ways, float("inf"))
    spent = 0.0

    def time_once(name: str) -> float:
        while True:
            others, start = _timed, clock()
            ways[name]()
            took = (clock() - start) * 1e3
            if _timed == others:
                return took

    for number in range(ROUNDS):
        if number >= LEAST_ROUNDS and spent > ENOUGH:
            break
        for name in [name for name in ways if number == 0 or least[name] < LOST * min(least.values())]:
            took = time_once(name)
            spent += took
            for _ in range(AGAIN if number == 0 and took < ONCE else 0):
                again = time_once(name)
                took, spent = min(took, again), spent + again
            least[name] = min(least[name], took)
    _timed += 1
    return least


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Hold the lock beside a file, so that one process measures while others wait; False where none can be had."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield False
        return
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Lock a file; False if another process, which may be stopped, does not let go of it."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        else:
            return True
