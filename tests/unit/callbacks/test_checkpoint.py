"""What makes a checkpoint the best one."""

from __future__ import annotations

import math

import pytest

from lab.callbacks.early_stopping import is_better


@pytest.mark.parametrize(
    ("value", "best", "of_max", "of_min"),
    [
        (0.5, 0.4, True, False),
        (0.4, 0.5, False, True),
        (0.5, 0.5, False, False),  # the first of equal ones stays
        (math.nan, 0.5, False, False),
        (0.1, math.nan, True, True),
        (math.nan, math.nan, False, False),
    ],
)
def test_better(value: float, best: float, of_max: bool, of_min: bool) -> None:
    assert (is_better(value, best, "max"), is_better(value, best, "min")) == (of_max, of_min)
