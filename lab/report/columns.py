"""What the values of a parameter are, for axes and comparisons. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.report.html.page import ShownValue

LOG_FROM = 30.0
"""A parameter whose greatest value is so many times its least is compared by its logarithm."""


def numbers_of(values: Sequence[ShownValue]) -> list[float]:
    """Return the values as numbers; none if one of them is not a finite number."""
    try:
        numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    except OverflowError:  # an int beyond float64
        return []
    return numbers if len(numbers) == len(values) and all(map(math.isfinite, numbers)) else []


def is_wide(values: Sequence[ShownValue]) -> bool:
    """Whether all values are positive numbers, and the greatest is at least ``LOG_FROM`` times the least."""
    numbers = numbers_of(values)
    return bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) >= LOG_FROM
