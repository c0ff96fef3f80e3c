"""A fork is a process of its own from its first moment on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from lab.launch.forking import fork
from lab.sweeps.notes import SignalNotes


def test_a_signal_to_a_new_fork_does_not_wake_its_parent() -> None:
    """A child begins with its parent's handlers and with the pipe by which they wake it: signals wait until they go."""
    ours = signal.SIGRTMIN + 5
    before = signal.signal(ours, lambda *_: None)
    ready, told = os.pipe()

    def child() -> NoReturn:
        os.read(ready, 1)
        time.sleep(0.05)  # a handler would run here
        os._exit(7 if ours in signal.sigpending() else 1)

    with SignalNotes() as notes:
        pid = fork(child)
        os.kill(pid, ours)
        os.write(told, b"g")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert notes.wait(0.0) == [signal.SIGCHLD]
    signal.signal(ours, before)
    os.close(ready)
    os.close(told)


REPORT = """
import json, os, random, signal, sys
from lab.launch.forking import begin, fork, leave
from lab.system.processes import die_with_parent

import numpy
random.seed(1); numpy.random.seed(1)
held = [open("/dev/null") for _ in range(5)]
signal.signal(signal.SIGHUP, lambda *_: None)
parent = os.getpid()

def report():
    handlers = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD)]
    print(json.dumps({
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
        "default": all(handler == signal.SIG_DFL for handler in handlers),
        "draws": [random.random(), numpy.random.rand()],
        "environment": sorted(os.environ),
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
    }), flush=True)
    return 7

for _ in range(2):
    reading, writing = os.pipe()
    def child():
        die_with_parent(parent)
        begin((os.open("/dev/null", os.O_RDONLY), writing, writing), {"MINE": "1"})
        leave(report)
    pid = fork(child)
    os.close(writing)
    print(os.read(reading, 9999).decode().strip())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""


def test_a_fork_has_streams_handlers_environment_and_random_numbers_of_its_own() -> None:
    printed = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, check=True).stdout
    first, second = map(json.loads, printed.splitlines())
    assert first["descriptors"] == [0, 1, 2]
    assert first["default"]
    assert first["environment"] == ["MINE"]
    assert first["blocked"] == []
    assert first["draws"] != second["draws"]
    assert first["draws"][1] != second["draws"][1]


ORPHAN = """
import os, sys, time
from lab.system.processes import die_with_parent
parent = os.getpid()
pid = os.fork()
if not pid:
    die_with_parent(parent)
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


def test_a_child_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10
    while _is_alive(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


RANKS = """
import sys, types
from lightning_utilities.core.rank_zero import rank_zero_only
rank_zero_only.rank = 0  # as Lightning sets it when it is imported without RANK
worker = types.ModuleType("lab.launch.worker")
worker.main = lambda: print(rank_zero_only.rank, rank_zero_only(lambda: "writes")(), flush=True) or 0
sys.modules["lab.launch.worker"] = worker
from lab.launch.forking import ForkedRank
for rank in (0, 1):
    process = ForkedRank({"RANK": str(rank)}, ())
    print(process.stdout.read().decode(), end="")
    while process.poll() is None:
        pass
"""


def test_a_forked_rank_does_not_take_itself_for_the_first() -> None:
    """Else both would write metrics.csv, and rows would be lost."""
    printed = subprocess.run([sys.executable, "-c", RANKS], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["0 writes", "1 None"]
