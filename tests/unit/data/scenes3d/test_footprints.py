"""Footprints touch where shapely says that the polygons do."""

from __future__ import annotations

import numpy as np
import pytest

from lab.data.scenes3d.footprints import corners, touching


def test_touching_is_what_shapely_finds() -> None:
    shapely = pytest.importorskip("shapely")
    random = np.random.default_rng(0)
    rectangles = random.uniform([-3, -3, 0.2, 0.2, -4], [3, 3, 4, 3, 4], (150, 5))
    polygons = [shapely.Polygon(points) for points in corners(rectangles)]
    for one, polygon in zip(rectangles[:40], polygons[:40], strict=True):
        expected = [polygon.intersects(other) for other in polygons]
        assert touching(one, rectangles).tolist() == expected


def test_a_margin_keeps_a_distance() -> None:
    one = np.array([0.0, 0.0, 2.0, 1.0, 0.0])
    beside = np.array([[0.0, 1.2, 2.0, 1.0, np.pi], [0.0, 1.5, 2.0, 1.0, 0.0]])
    assert touching(one, beside).tolist() == [False, False]
    assert touching(one, beside, 0.3).tolist() == [True, False]
