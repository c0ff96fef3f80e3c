"""Curves stand where their numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab.report.canvas import class_colour
from lab.report.curves import BOTTOM, LEFT, RIGHT, TOP, Axis, Curve, axis_of, draw_curves


def test_axes() -> None:
    assert Axis(0, 10).ticks() == [0, 2, 4, 6, 8, 10]
    assert Axis(0.13, 0.71).ticks() == pytest.approx([0.2, 0.4, 0.6])
    assert Axis(0.002, 300, True).ticks() == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert Axis(1, 100, True).place(10) == pytest.approx(0.5)
    assert math.isnan(Axis(1, 100, True).place(0))
    assert math.isnan(Axis(1, 100).place(math.inf))
    assert (axis_of([3, 5, math.nan], zero=True), axis_of([2, 2])) == (Axis(0, 5), Axis(1.5, 2.5))
    assert axis_of([0, -1, 4, 16], is_log=True) == Axis(4, 16, True)
    assert axis_of([]) == Axis(1, 10)


def rows_of(curve: Curve) -> dict[int, float]:
    """The mean row of the curve's pixels in some columns of a picture of 400 x 300."""
    pixels = np.asarray(draw_curves([curve], size=(400, 300)))
    own = (pixels == class_colour(0)).all(-1)[TOP + 1 : 300 - BOTTOM]
    columns = {column: np.flatnonzero(own[:, column]) for column in range(LEFT, 400 - RIGHT + 1)}
    return {column: float(found.mean()) + TOP + 1 for column, found in columns.items() if len(found)}


def test_a_line_from_corner_to_corner() -> None:
    rows = rows_of(Curve("a", [0, 1], [0, 1]))
    middle = (LEFT + 400 - RIGHT) // 2
    assert rows[middle] == pytest.approx((TOP + 300 - BOTTOM) / 2, abs=1.5)
    assert rows[LEFT + 20] > rows[middle] > rows[400 - RIGHT - 20]


def test_what_is_not_finite_interrupts() -> None:
    rows = rows_of(Curve("a", [0, 1, 2, 3], [1, 1, math.nan, 1]))
    third = (400 - RIGHT - LEFT) // 3
    assert LEFT + third // 2 in rows
    assert not any(LEFT + third + 5 < column < 400 - RIGHT - 5 for column in rows)
