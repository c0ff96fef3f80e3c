"""Signed distances on a grid: against formulas, and what a mesh loses on the way and back."""

from __future__ import annotations

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.deviation import deviation
from lab.geometry.distance_field import DistanceField, from_distance_field, to_distance_field
from lab.geometry.measures import is_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Context

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def points_of(field: DistanceField) -> np.ndarray:
    places = np.stack(np.meshgrid(*map(np.arange, field.values.shape), indexing="ij"), axis=-1)
    return field.origin + field.spacing * places


def of_ball(cells: int) -> DistanceField:
    """The distances of the unit ball by its formula."""
    spacing = 2.6 / cells
    field = DistanceField(np.zeros((cells + 1,) * 3), np.full(3, -1.3), spacing)
    return DistanceField(np.linalg.norm(points_of(field), axis=-1) - 1, field.origin, spacing)


def test_distances_of_a_cube_are_those_of_the_formula() -> None:
    field = to_distance_field(extrude_polygon(SQUARE), 0.17)
    away = np.abs(points_of(field) - 0.5) - 0.5
    expected = np.linalg.norm(np.maximum(away, 0), axis=-1) + np.minimum(away.max(-1), 0)
    np.testing.assert_allclose(field.values, expected, atol=1e-12)


def test_the_error_of_a_ball_falls_with_the_square_of_the_spacing() -> None:
    errors = []
    for cells in (13, 26):
        back = from_distance_field(of_ball(cells))
        assert is_watertight(back)
        errors.append((1 - volume(back) / (4 / 3 * np.pi), 1 - surface_area(back) / (4 * np.pi)))
        gaps = np.abs(np.linalg.norm(back.positions, axis=1) - 1)
        assert gaps.max() < 0.375 * (2.6 / cells) ** 2  # linear along a cell's diagonal; measured: 0.33
    assert 0 < errors[1][0] < 0.01  # measured: volume 2.0e-2, 5.0e-3; surface 1.0e-2, 2.6e-3
    assert 0 < errors[1][1] < 0.01
    assert errors[0][0] / errors[1][0] == pytest.approx(4, rel=0.2)
    assert errors[0][1] / errors[1][1] == pytest.approx(4, rel=0.2)


def test_a_mesh_comes_back_and_levels_grow_it() -> None:
    ball = Sphere(radius=1.0, rings=8, sides=16, pivot="centre").apply(empty_mesh(), Context())
    field = to_distance_field(ball, 0.2, margin=0.4)
    back = from_distance_field(field)
    assert is_watertight(back)
    lost = deviation(back, ball)
    assert lost.largest < 0.05  # measured: 3.0e-2
    assert abs(lost.volume) < 0.04  # measured: -1.6e-2
    grown = from_distance_field(field, 0.4)
    # A body of volume V, surface S and mean width w (2 r for a ball) grows by Steiner's formula.
    expected = volume(ball) + 0.4 * surface_area(ball) + 4 * np.pi * 0.4**2 + 4 / 3 * np.pi * 0.4**3
    assert volume(grown) == pytest.approx(expected, rel=0.02)  # measured: -1.2e-2


@pytest.mark.parametrize("level", [0.3, -0.15])
def test_distances_near_a_level_are_exact_and_others_on_its_side(level: float) -> None:
    box = Box(size=(2.0, 1.0, 0.6)).apply(empty_mesh(), Context())
    whole, part = (to_distance_field(box, 0.09, 0.35, level=asked) for asked in (None, level))
    np.testing.assert_array_equal(part.values < level, whole.values < level)
    close = np.abs(whole.values - level) <= 2 * 0.09
    np.testing.assert_array_equal(part.values[close], whole.values[close])
    assert (part.values != whole.values).mean() > 0.1  # otherwise nothing is saved
    meshes = [from_distance_field(field, level) for field in (whole, part)]
    np.testing.assert_array_equal(meshes[0].positions, meshes[1].positions)


def test_sharp_edges_are_cut_off() -> None:
    """The stated loss: of a cube by less than the spacing, in volume by the bevels of its twelve edges."""
    cube = extrude_polygon(SQUARE)
    lost = deviation(from_distance_field(to_distance_field(cube, 0.1)), cube)
    assert 0.01 < lost.largest < 0.1
    assert -0.06 < lost.volume < 0


def test_any_field_makes_a_closed_surface() -> None:
    """Noise, and distances of exactly 0 at points of the grid."""
    values = np.ones((7, 8, 9))
    values[1:-1, 1:-1, 1:-1] = np.random.default_rng(0).integers(-1, 2, (5, 6, 7))
    back = from_distance_field(DistanceField(values, np.zeros(3), 1.0))
    assert back.num_triangles
    assert is_watertight(back)
    assert volume(back) > 0


def test_what_cannot_be_is_refused() -> None:
    cube = extrude_polygon(SQUARE)
    field = to_distance_field(cube, 0.25)
    with pytest.raises(GeometryError, match=r"level: the surface at 0\.9 metres leaves the grid"):
        from_distance_field(field, 0.9)
    with pytest.raises(GeometryError, match="level: no point of the grid is inside -1 metres"):
        from_distance_field(field, -1.0)
    opened = DynamicMesh(cube.positions, cube.triangles[:-2], cube.polygroups[:-2], cube.slots[:-2])
    with pytest.raises(GeometryError, match="4 open edges"):
        to_distance_field(opened, 0.1)
