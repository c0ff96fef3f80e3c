"""Levels of detail: budgets, and what each loses of a ball, against the closed form."""

from __future__ import annotations

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.bake import bake
from lab.geometry.levels import make_levels, with_levels
from lab.geometry.measures import is_watertight, volume
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.thaw import thaw
from lab.geometry.tool import Context


@pytest.fixture(scope="module")
def ball() -> DynamicMesh:
    return Sphere(radius=1.0, sides=32, rings=16, pivot="centre").apply(empty_mesh(), Context())


def test_each_level_keeps_its_budget_and_says_what_it_loses(ball: DynamicMesh) -> None:
    levels = make_levels(ball)
    assert [len(level.mesh.triangles) <= share * 960 for level, share in zip(levels, (0.5, 0.25, 0.125), strict=True)]
    worst = [level.lost.largest for level in levels]
    assert worst == sorted(worst)
    assert worst[-1] < 0.07  # measured: 1.6e-2, 2.3e-2, 5.4e-2 of the radius
    for level in levels:
        coarse = thaw(level.mesh)
        assert is_watertight(coarse)
        # The ball itself has lost 1.6 % of the volume of a sphere; a level loses what it says beside that.
        share = volume(coarse) / (4 / 3 * np.pi)
        assert share == pytest.approx((1 + level.lost.volume) * volume(ball) / (4 / 3 * np.pi), abs=1e-6)
        assert share > 0.93  # measured: 0.980, 0.971, 0.953
        radii = np.linalg.norm(coarse.positions, axis=1)
        assert np.abs(radii - 1).max() < 0.05  # measured: 0.008, 0.016, 0.032


def test_a_static_mesh_gets_levels_without_levels(ball: DynamicMesh) -> None:
    static = with_levels(bake(ball), (0.3,))
    assert len(static.triangles) == 960
    assert [len(level.triangles) <= 288 and not level.levels for level in static.levels] == [True]


def test_a_box_has_no_coarser_level() -> None:
    box = Box(size=(2.0, 1.0, 0.5)).apply(empty_mesh(), Context())
    with pytest.raises(GeometryError, match=r"shares\[0\]\.triangles: 6 is out of reach: 12 triangles are left"):
        make_levels(box, (0.5,))


def test_shares_that_do_not_fall_are_refused(ball: DynamicMesh) -> None:
    with pytest.raises(GeometryError, match=r"shares\[1\]: shares fall from below 1 and stay above 0, not \(0\.2, 0\."):
        make_levels(ball, (0.2, 0.5))
    with pytest.raises(GeometryError, match=r"shares\[0\]"):
        make_levels(ball, (1.5,))
