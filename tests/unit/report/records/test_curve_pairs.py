"""Where curves part."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lab.report.records.curve_pairs import compare_curves

HEAD = "step,epoch,train/loss,val/map,train/lr"


def write(folder: Path, *rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.csv").write_text("\n".join([HEAD, *rows, ""]))
    return folder


def test_equal_until(tmp_path: Path) -> None:
    one = write(tmp_path / "a", "1,0,4.0,,1", "2,0,3.0,0.25,1", "3,0,2.0,,1", "4,0,1.0,0.5,1")
    other = write(tmp_path / "b", "1,0,4.0,,2", "2,0,3.0,0.25,2", "4,0,1.5,0.25,2", "5,0,0,,2")
    (loss, value), problems = compare_curves(one, other)
    assert problems == []
    assert (loss.metric, loss.steps, loss.equal_until, loss.parts_at, loss.largest) == ("train/loss", 3, 2, 4, 0.5)
    assert (value.metric, value.largest, value.largest_at) == ("val/map", -0.25, 4)
    assert value.sparks == ("▁█", "▁▁")
    same, *_ = compare_curves(one, one)[0]
    assert (same.equal_until, same.parts_at, same.largest) == (4, None, None)


@pytest.mark.parametrize("value", ["nan", "inf", "1e308", "-1e308"])
def test_values_at_the_end_of_floats(tmp_path: Path, value: str) -> None:
    one = write(tmp_path / "a", "1,0,1e308,,1", f"2,0,{value},,1")
    other = write(tmp_path / "b", "1,0,-1e308,,1", f"2,0,{value},,1")
    ((loss,), _) = compare_curves(one, other)
    assert (loss.equal_until, loss.parts_at) == (None, 1)
    assert loss.largest is None or math.isfinite(loss.largest)


def test_runs_without_metrics(tmp_path: Path) -> None:
    one = write(tmp_path / "a", "1,0,4.0,,1")
    (tmp_path / "b").mkdir()
    pairs, problems = compare_curves(one, tmp_path / "b")
    assert pairs == []
    assert problems[0].startswith("no metrics at")
