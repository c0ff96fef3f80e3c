"""What is printed of a run's result."""

from __future__ import annotations

import math

import pytest

from lab.report.tables import expectation, print_metrics


@pytest.mark.parametrize(
    ("value", "one_sided", "two_sided"),
    [(0.5, True, True), (0.46, True, True), (0.44, False, False), (0.9, True, False), (None, False, False)],
)
def test_expectations(value: float | None, one_sided: bool, two_sided: bool) -> None:
    expected = {"metric": "test/map", "value": 0.5, "tolerance": 0.05}
    line = expectation(expected, value)
    assert line.startswith("expected test/map 0.5 or more, or less by 0.05 at most: ")
    assert line.endswith(f"{'met' if one_sided else 'NOT met'} ({value})")
    line = expectation({**expected, "two_sided": True}, value)
    assert line == f"expected test/map 0.5 +- 0.05: {'met' if two_sided else 'NOT met'} ({value})"


def test_what_nothing_defines_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics({"val/map": 0.5, "val/map_large": math.nan, "test/map": None, "test/map_large": None}, "title")
    rows = [line.split() for line in capsys.readouterr().out.replace("\u2502", " ").splitlines()]
    assert ["map", "0.5000", "-"] in rows
    assert not any("map_large" in row for row in rows)
