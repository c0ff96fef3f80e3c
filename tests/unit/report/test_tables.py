"""What is printed of a run's result."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.report.tables import expectation, print_metrics, print_result


@pytest.mark.parametrize(
    ("value", "higher", "lower", "two_sided"),
    [
        (0.5, True, True, True),
        (0.46, True, True, True),
        (0.54, True, True, True),
        (0.44, False, True, False),
        (0.9, True, False, False),
        (None, False, False, False),
    ],
)
def test_expectations(value: float | None, higher: bool, lower: bool, two_sided: bool) -> None:
    """One-sided ones: better by any amount, worse by the tolerance at most; which way is better, the metric says."""
    expected = {"metric": "test/map", "value": 0.5, "tolerance": 0.05}
    line = expectation(expected, value, "max")
    assert line.startswith("expected test/map 0.5 or more, or less by 0.05 at most: ")
    assert line.endswith(f"{'met' if higher else 'NOT met'} ({value})")
    line = expectation(expected, value, "min")
    assert line.startswith("expected test/map 0.5 or less, or more by 0.05 at most: ")
    assert line.endswith(f": {'met' if lower else 'NOT met'} ({value})")
    for better in ("max", "min"):
        line = expectation({**expected, "two_sided": True}, value, better)
        assert line == f"expected test/map 0.5 +- 0.05: {'met' if two_sided else 'NOT met'} ({value})"


@pytest.mark.parametrize(
    ("record", "met"),
    [({"lower_is_better": ["test/rmse"]}, True), ({"lower_is_better": []}, False), ({}, False)],
)
def test_a_run_says_which_way_its_metric_is_better(
    record: dict[str, Any], met: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Any = SimpleNamespace(
        path=tmp_path, checkpoints=tmp_path, record={"result": {"test/rmse": 1.0, "test/loss": 1.0}, **record}
    )
    print_result(run, {"expected": {"metric": "test/rmse", "value": 2.0, "tolerance": 0.1}})
    printed = capsys.readouterr().out
    assert f": {'met' if met else 'NOT met'} (1.0)" in printed
    assert ("rmse (lower is better)" in printed) == met
    if not record:  # of a version that did not record it
        print_result(run, {"expected": {"metric": "test/loss", "value": 2.0, "tolerance": 0.1}})
        assert "2.0 or less, or more by 0.1 at most: met (1.0)" in capsys.readouterr().out


def test_what_nothing_defines_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics({"val/map": 0.5, "val/map_large": math.nan, "test/map": None, "test/map_large": None}, "title")
    rows = [line.split() for line in capsys.readouterr().out.replace("\u2502", " ").splitlines()]
    assert ["map", "0.5000", "-"] in rows
    assert not any("map_large" in row for row in rows)
