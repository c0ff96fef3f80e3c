"""``scripts/measure_scale.py``: its slopes and limits, and that all of its parts run."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SIZES = {
    "images": [100, 300],
    "classes": [4, 40],
    "items": [1_000, 3_000],
    "queries": [5, 10],
    "ranks": [1, 2],
    "parameters": [200_000, 800_000],
    "length": [50, 200],
    "runs": [2, 4],
}


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("scaling.points")


def test_the_slope_is_that_of_the_two_largest_points(points: ModuleType) -> None:
    assert points.slope([1, 10, 100], [9.0, 5.0, 500.0]) == pytest.approx(2)
    assert points.slope([1, 10, 1000], [1.0, 10.0, 10.0]) == pytest.approx(0)
    assert points.slope([2, 8, 16], [1.0, 2.0, 0.0]) == pytest.approx(0.5)
    assert points.slope([1, 2], [0.0, 1.0]) is None


@pytest.mark.parametrize(("rounds", "calls"), [(0, 1), (1, 2), (5, 2)])
def test_a_long_first_call_does_not_count_beside_others(points: ModuleType, rounds: int, calls: int) -> None:
    made: list[float] = []

    def work() -> None:
        made.append(time.process_time())
        while time.process_time() - made[-1] < (0.01 if len(made) > 1 else 0.1):
            pass

    taken = points.seconds(work, rounds, enough=0.05)
    assert len(made) == calls
    assert (taken < 0.08) == (calls > 1)


ADDS = """
from scaling.points import MEMORY, apart

values, problem = apart(lambda: {"bytes": float(len(b"x" * (64 * 2**20)))})
print(problem, values["bytes"], values[MEMORY])
"""


def test_memory_of_a_point_is_what_it_adds() -> None:
    """In a process that is new, as the program's: a test runner's heap may have resident room for the bytes already."""
    done = subprocess.run([sys.executable, "-c", ADDS], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    taken, memory = map(float, done.stdout.split())
    assert taken == 64 * 2**20
    assert 63 <= memory < 80  # the kernel counts pages in batches


def test_a_point_that_breaks_says_how(points: ModuleType) -> None:
    def too_much() -> dict[str, float]:
        return {"bytes": float(len(bytearray(4 * 2**30)))}

    def fails() -> dict[str, float]:
        raise ValueError("first line\nsecond")

    def dies() -> dict[str, float]:
        raise SystemExit(3)

    def sleeps() -> dict[str, float]:
        time.sleep(60)
        return {}

    assert points.apart(too_much, points.Limits(memory=2.0)) == ({}, "MemoryError: ")
    assert points.apart(fails) == ({}, "ValueError: first line")
    assert points.apart(dies)[1] == "SystemExit: 3"
    start = time.monotonic()
    assert points.apart(sleeps, points.Limits(seconds=0.2)) == ({}, "not done after 0 s")
    assert time.monotonic() - start < 30


@pytest.mark.slow
def test_all_parts_run_and_their_numbers_are_written(tmp_path: Path) -> None:
    out = tmp_path / "scale.json"
    command = [sys.executable, str(SCRIPTS / "measure_scale.py"), "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPTS.parent)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["quick"] is True
    assert {"date", "torch", "cpu", "cores"} <= found["machine"].keys()
    assert found["parts"].keys() == SIZES.keys()
    for name, part in found["parts"].items():
        assert f"### {name}: " in done.stdout
        assert part["load"] >= 0
        assert part["seconds"] > 0
        assert part["rows"]
        for row in part["rows"]:
            assert row["broken"] == [], row
            assert [size for size, _ in row["points"]] == SIZES[name]
            assert all(math.isfinite(value) and value >= 0 for _, value in row["points"])
            assert f"| {row['what']}: {row['quantity']} |" in done.stdout
    quantities = {row["quantity"] for part in found["parts"].values() for row in part["rows"]}
    assert {"memory, MiB", "step, s", "next start, s", "sent in a step, MiB", "W&B offline: hand-over, s"} <= quantities
    of_ranks = [row for row in found["parts"]["ranks"]["rows"] if row["quantity"] == "sent in a step, MiB"]
    parameters = next(row for row in found["parts"]["ranks"]["rows"] if row["quantity"] == "parameters")["points"][0][1]
    ddp = dict(map(tuple, of_ranks[0]["points"]))
    assert ddp[1] == 0  # alone there is nobody to send to
    # A ring of two sends each gradient once: 2 (N - 1) / N of 4 bytes for each parameter.
    assert ddp[2] == pytest.approx(4 * parameters / 2**20, rel=0.05)
