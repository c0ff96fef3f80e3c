"""Which values have a logarithmic axis."""

from __future__ import annotations

import pytest

from lab.report.columns import is_wide, numbers_of


def test_numbers_are_all_or_none() -> None:
    assert numbers_of([1, 2.5]) == [1.0, 2.5]
    for odd in (True, "1", None, float("nan"), float("inf")):
        assert numbers_of([1, odd]) == []


@pytest.mark.parametrize(
    ("values", "wide"), [([1e-4, 1e-3], False), ([1e-4, 3e-3], True), ([0, 1], False), ([-90, -1], False), ([], False)]
)
def test_wide_values_differ_by_a_factor_of_thirty(values: list[float], wide: bool) -> None:
    assert is_wide(values) is wide
