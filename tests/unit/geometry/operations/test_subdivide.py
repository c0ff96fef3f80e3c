"""Subdivision: shapes that stay, Loop's masks against trimesh's."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import is_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.subdivide import subdivide, subdivide_loop, subdivide_to_length

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def at_corners(overlay):
    return overlay.elements[overlay.corners]


def assert_uvs_are_metres_of_the_top(mesh: DynamicMesh, top: int) -> None:
    chosen = mesh.polygroups == top
    np.testing.assert_allclose(
        at_corners(mesh.uvs[0])[chosen], mesh.positions[mesh.triangles[chosen]][..., :2], atol=1e-14
    )


def test_flat_subdivision_keeps_shape_groups_seams_and_uvs():
    cube = extrude_polygon(SQUARE)
    mesh = subdivide(cube, 2)
    assert mesh.num_triangles == 12 * 16
    assert mesh.num_vertices == 2 + 12 * 8
    assert is_watertight(mesh)
    assert (volume(mesh), surface_area(mesh)) == pytest.approx((1, 6), abs=1e-14)
    np.testing.assert_array_equal(np.bincount(mesh.polygroups), 32)
    assert_uvs_are_metres_of_the_top(mesh, 5)
    assert len(mesh.normals.elements) == 6 * 25  # each side smooth on its own


def test_edges_are_cut_until_they_are_short_enough():
    mesh = subdivide_to_length(extrude_polygon([(0, 0), (3, 0), (3, 1), (0, 1)], height=0.1), 0.25)
    corners = mesh.positions[mesh.triangles]
    assert np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max() <= 0.25
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(0.3, abs=1e-13)
    assert_uvs_are_metres_of_the_top(mesh, 5)


def test_loops_masks_are_trimeshs():
    trimesh = pytest.importorskip("trimesh")
    prism = extrude_polygon(circle(1.0, 7), height=0.5)
    mesh = subdivide_loop(prism, 2)
    other = trimesh.Trimesh(prism.positions, prism.triangles, process=False).subdivide_loop(2)
    order = [np.lexsort(points.round(9).T) for points in (mesh.positions, other.vertices)]
    np.testing.assert_allclose(mesh.positions[order[0]], other.vertices[order[1]], atol=1e-12)  # worst error 4e-16
    assert is_watertight(mesh)


def test_creases_between_polygroups_stay_sharp():
    drum = subdivide_loop(extrude_polygon(circle(1.0, 24), height=0.5), 3, creases="groups")
    top = drum.positions[drum.triangles[drum.polygroups == 2]]
    np.testing.assert_allclose(top[..., 2], 0.5, atol=1e-14)
    # A closed cubic B-spline through a regular polygon: the rim's limit is a circle of radius (2 + cos) / 3.
    rim = np.linalg.norm(top[..., :2], axis=2).max()
    assert rim == pytest.approx((2 + np.cos(2 * np.pi / 24)) / 3, abs=1e-3)


def test_refusals():
    with pytest.raises(GeometryError, match="levels: must be at least 0, not -1"):
        subdivide(extrude_polygon(SQUARE), -1)
    with pytest.raises(GeometryError, match=r"length: 0\.001 makes more than 1000 triangles"):
        subdivide_to_length(extrude_polygon(SQUARE), 0.001, most=1000)
