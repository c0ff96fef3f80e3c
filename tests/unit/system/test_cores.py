"""How many cores are free: threads of a probe count that ran nearly all the time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.system import cores


def probes(monkeypatch: pytest.MonkeyPatch, *shares: list[float]) -> Iterator[list[float]]:
    """Let the probe find these shares, one list for each moment; return those that are left."""
    left = iter(shares)
    monkeypatch.setattr(cores, "_shares", lambda count, seconds: next(left))
    return left


@pytest.mark.parametrize(
    ("first", "second", "free"),
    [
        ([0.99, 0.97], None, 2),  # idle: one moment is enough
        ([0.67, 0.66], [0.5, 0.99], 1),  # one busy process: shared evenly, or on one core
        ([0.99, 0.6], [0.98, 0.97], 2),  # disturbed for one moment only
        ([0.2, 0.1], [0.3, 0.2], 0),
        ([0.99] * 15 + [0.5], [0.99] * 14 + [0.7, 0.8], 15),
    ],
)
def test_cores_that_the_probe_had_to_itself_are_free(
    monkeypatch: pytest.MonkeyPatch, first: list[float], second: list[float] | None, free: int
) -> None:
    left = probes(monkeypatch, *([first] if second is None else [first, second]))
    assert cores.free_cores(len(first)) == free
    assert next(left, None) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_core_that_another_process_keeps_busy_is_not_free() -> None:
    """On one core beside a process that never waits."""
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{core}]); print(flush=True)\nwhile True: pass"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    before = os.sched_getaffinity(0)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        os.sched_setaffinity(0, [core])
        assert (cores.usable_cores(), cores.full_cores()) == (1, 1)
        assert cores.free_cores(1) == 0
    finally:
        os.sched_setaffinity(0, before)
        other.kill()
        other.wait()


def test_a_share_is_processor_time_over_time() -> None:
    """The time is one for all threads, so that together they have no more than the cores."""
    shares = cores._shares(3, 0.02)
    assert len(shares) == 3
    assert all(0 <= share <= 1.05 for share in shares)  # 0: waited all the time for a core, beside other tests
    assert 0 < sum(shares) <= cores.usable_cores() * 1.05


def test_two_processors_of_a_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}
    monkeypatch.setattr(cores, "_allowed", lambda: [0, 1, 4, 5])
    monkeypatch.setattr(cores.Path, "read_text", lambda path, encoding: siblings[int(path.parts[-3][3:])])
    assert (cores.usable_cores(), cores.full_cores()) == (4, 2)

    def refuse(path: object, encoding: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(cores.Path, "read_text", refuse)
    assert cores.full_cores() == 4
