"""The best job of a sweep, by what its runs monitor and in that metric's direction."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lab.sweeps.best import find_best


def run(value: float | None, metric: str = "val/rmse", state: str = "finished", lower: bool = True) -> dict[str, Any]:
    return {
        "state": state,
        "monitor": metric,
        "lower_is_better": [metric] if lower else [],
        "result": {metric: value, "test/other": 0.0},
    }


def test_lower_is_better_where_the_metric_says_so() -> None:
    best = find_best([run(3.0), run(1.0), run(2.0), run(1.0)])
    assert best is not None
    assert (best.index, best.words()) == (1, "val/rmse 1.0000 (lower is better)")
    best = find_best([run(3.0, lower=False), run(1.0, lower=False)])
    assert best is not None
    assert (best.index, best.words()) == (0, "val/rmse 3.0000 (higher is better)")


def test_only_finished_runs_with_the_metric_are_compared() -> None:
    undefined = [run(None), run(math.nan), run(-math.inf)]
    best = find_best([{}, *undefined, run(0.5, state="failed"), run(2.0), run(1.0)])
    assert best is not None
    assert best.index == 6


@pytest.mark.parametrize(
    "records",
    [
        [],
        [run(1.0)],
        [run(1.0), run(2.0, metric="val/map")],
        [run(1.0), run(2.0, lower=False)],
        [{"state": "finished", "result": {"val/map": 0.5}}] * 2,
    ],
)
def test_what_cannot_be_compared_has_no_best(records: list[dict[str, Any]]) -> None:
    assert find_best(records) is None
