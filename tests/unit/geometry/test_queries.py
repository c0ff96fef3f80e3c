"""Spatial queries against closed forms and against trimesh."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.measures import surface_area, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.nearest import nearest_weights
from lab.geometry.operations.booleans import difference, trim
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.sweep import sweep
from lab.geometry.queries import NO_TRIANGLE, SpatialIndex, sample_surface, sample_volume
from lab.geometry.transforms import transformed, translation

SQUARE = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def bracket() -> DynamicMesh:
    """Large and small triangles, concave, with a hole."""
    plate = extrude_polygon([(-3, -1), (3, -1), (3, 1), (-3, 1)], height=0.5)
    ring = sweep(0.1 * circle(1.0, 8), np.column_stack([circle(0.6, 24), np.full(24, 0.5)]), closed=True)
    return difference(plate, ring)


@pytest.fixture(scope="module")
def cube() -> DynamicMesh:
    return transformed(extrude_polygon(SQUARE), translation((0, 0, -0.5)))


def cube_distance(points: np.ndarray) -> np.ndarray:
    """The signed distance to the cube of side 1 around the origin, by hand."""
    beyond = np.abs(points) - 0.5
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)


def test_signed_distance_of_a_cube(cube):
    points = RANDOM.uniform(-1.5, 1.5, (500, 3))
    points[:50] = np.sign(points[:50]) * 0.8  # nearest to corners
    points[50:100, :2] = 0.7  # and to edges
    found = SpatialIndex(cube).signed_distances(points)
    np.testing.assert_allclose(found, cube_distance(points), atol=1e-14)  # worst error 3e-16


def test_nearest_points_and_sides_are_trimeshs(bracket):
    trimesh = pytest.importorskip("trimesh")
    other = trimesh.Trimesh(bracket.positions, bracket.triangles, process=False)
    points = RANDOM.uniform([-3.5, -1.5, -0.5], [3.5, 1.5, 1.0], (400, 3))
    index = SpatialIndex(bracket)
    _, distance, _ = trimesh.proximity.closest_point(other, points)
    np.testing.assert_allclose(index.distances(points), distance, atol=1e-12)
    sides = index.signed_distances(points) < 0
    np.testing.assert_array_equal(sides, other.contains(points))
    found = index.nearest(points)
    corners = bracket.positions[bracket.triangles[found.triangles]]
    np.testing.assert_allclose((found.weights[..., None] * corners).sum(axis=1), found.points, atol=1e-14)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_no_nearer_triangle_is_overlooked(bracket, offset):
    """Every triangle asked for every point, by hand; points on the surface and far from it too."""
    moved = transformed(bracket, translation((offset, 0, 0)))
    on_it = sample_surface(moved, 60, np.random.default_rng(3)).points
    points = np.concatenate(
        [on_it, on_it + RANDOM.normal(0, 1e-9, on_it.shape), on_it + RANDOM.normal(0, 2, on_it.shape)]
    )
    corners = moved.positions[moved.triangles]
    weights = nearest_weights(np.repeat(points, len(corners), axis=0), np.tile(corners, (len(points), 1, 1)))
    nearest = (weights[..., None] * np.tile(corners, (len(points), 1, 1))).sum(axis=1).reshape(len(points), -1, 3)
    slow = np.linalg.norm(nearest - points[:, None], axis=2).min(axis=1)
    np.testing.assert_allclose(SpatialIndex(moved).distances(points), slow, atol=1e-14 + 1e-15 * offset)


def test_rays_against_a_cube_by_hand(cube):
    origins = np.column_stack([RANDOM.uniform(-0.4, 0.4, (20, 2)), np.full(20, 10.0)])
    index = SpatialIndex(cube)
    hits = index.cast_rays(origins, (0, 0, -2))
    np.testing.assert_allclose(hits.distances, 9.5, atol=1e-14)
    np.testing.assert_allclose(hits.points, origins - [0, 0, 9.5], atol=1e-14)
    assert (cube.polygroups[hits.triangles] == 5).all()
    within = index.cast_rays((0, 0, 0), np.concatenate([np.eye(3), -np.eye(3)]))
    np.testing.assert_allclose(within.distances, 0.5, atol=1e-14)  # from inside, the walls' backs
    misses = index.cast_rays(origins, (0, 0, 1))
    assert (misses.triangles == NO_TRIANGLE).all()
    assert np.isinf(misses.distances).all()
    assert np.isnan(misses.points).all()


def test_the_inside_is_that_of_winding_numbers_where_parts_overlap_and_points_lie_in_line_with_edges(cube, bracket):
    two = append(cube, transformed(cube, translation((0.5, 0.25, 0))))
    steps = np.linspace(-1.25, 1.25, 11)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3) + 0.01
    index = SpatialIndex(two)
    np.testing.assert_array_equal(index.inside(grid), index.winding_numbers(grid) > 0.5)
    beyond = np.maximum(-cube_distance(grid), -cube_distance(grid - [0.5, 0.25, 0]))
    np.testing.assert_array_equal(index.inside(grid), beyond > 0)
    points = RANDOM.uniform([-3.5, -1.5, -0.5], [3.5, 1.5, 1.0], (1000, 3))
    index = SpatialIndex(bracket)
    np.testing.assert_array_equal(index.inside(points), index.winding_numbers(points) > 0.5)


def test_winding_numbers_see_holes_and_overlaps(cube):
    lid = trim(cube, transformed(cube, translation((0, 0, 0.5))))  # the lower half, open above
    index = SpatialIndex(lid)
    assert index.winding_numbers((0, 0, 0))[0] == pytest.approx(0.5, abs=1e-12)  # in the middle of the opening
    assert SpatialIndex(cube).winding_numbers([(0, 0, 0), (1, 1, 1)]) == pytest.approx([1, 0], abs=1e-12)
    with pytest.raises(GeometryError, match="must be watertight and has 8 open edges"):
        index.signed_distances((0, 0, 0))


def test_points_are_drawn_evenly_over_the_area_and_the_volume(bracket):
    drawn = sample_surface(bracket, 4000, np.random.default_rng(1))
    np.testing.assert_allclose(SpatialIndex(bracket).distances(drawn.points[:200]), 0, atol=1e-12)
    again = sample_surface(bracket, 4000, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn.points, again.points)
    bottom = np.abs(drawn.points[:, 2]) < 1e-12
    share = 12 / surface_area(bracket)
    assert bottom.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 4000))
    inside = sample_volume(bracket, 300, np.random.default_rng(2))
    assert inside.shape == (300, 3)
    assert (SpatialIndex(bracket).signed_distances(inside) < 0).all()
    assert inside[:, 0].mean() == pytest.approx(0, abs=4 * np.sqrt(3 / 300))
    assert volume(bracket) < 6
