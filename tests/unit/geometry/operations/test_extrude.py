"""Extrusions against volumes and areas by hand."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import is_watertight, open_edges, surface_area, volume
from lab.geometry.operations.booleans import trim
from lab.geometry.operations.extrude import extrude_faces, extrude_polygon
from lab.geometry.operations.polygons import circle

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]
FRAME = [(0, 0), (4, 0), (4, 4), (0, 4)]
HOLE = [(1, 1), (1, 2), (2, 2), (2, 1)]
TOP = 5


def test_a_frame_with_a_hole():
    mesh = extrude_polygon(FRAME, [HOLE], height=-2, steps=3)
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(30, abs=1e-13)
    assert surface_area(mesh) == pytest.approx(2 * 15 + 2 * (16 + 4), abs=1e-13)
    assert mesh.positions[:, 2].min() == -2
    assert set(mesh.polygroups) == set(range(4 + 4 + 2))


def test_a_smooth_outline_is_one_polygroup_and_shaded_smooth():
    mesh = extrude_polygon(circle(1.0, 32), height=0.5)
    assert volume(mesh) == pytest.approx(16 * np.sin(2 * np.pi / 32) * 0.5, abs=1e-13)
    assert set(mesh.polygroups) == {0, 1, 2}
    assert mesh.normals is not None
    sides = mesh.normals.elements[mesh.normals.corners[mesh.polygroups == 0]]
    radial = mesh.positions[mesh.triangles[mesh.polygroups == 0]] * [1, 1, 0]
    np.testing.assert_allclose(sides, radial, atol=1e-12)


@pytest.mark.parametrize(
    ("distance", "direction", "cubic"),
    [(0.5, None, 1.5), (-0.25, None, 0.75), (np.sqrt(17) / 4, (1, 0, 4), 2.0)],
)
def test_the_top_of_a_cube(distance, direction, cubic):
    cube = extrude_polygon(SQUARE)
    mesh = extrude_faces(cube, cube.polygroups == TOP, distance, direction)
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(cubic, abs=1e-14)
    assert set(mesh.polygroups) == set(range(10))  # four walls are new
    moved = mesh.polygroups == TOP
    np.testing.assert_array_equal(
        mesh.uvs[0].elements[mesh.uvs[0].corners[moved]],
        cube.uvs[0].elements[cube.uvs[0].corners[cube.polygroups == TOP]],
    )
    assert (mesh.uvs[0].corners >= 0).all()


def test_all_faces_along_their_normals_is_an_offset_without_walls():
    cube = extrude_polygon(SQUARE)
    mesh = extrude_faces(cube, np.arange(12), 0.5)
    assert mesh.num_triangles == 12
    assert volume(mesh) == pytest.approx(8, abs=1e-14)


def test_an_open_edge_stays_open_at_the_foot_of_its_wall():
    cube, mover = extrude_polygon(SQUARE), extrude_polygon([(-1, -1), (2, -1), (2, 2), (-1, 2)], height=0.5)
    lid = trim(cube, mover)  # the upper half, open below
    walls = lid.polygroups != TOP
    mesh = extrude_faces(lid, walls, 0.25, (0, 0, -1))
    assert len(open_edges(lid)) == 8  # the cut crosses a diagonal on each side
    assert len(open_edges(mesh)) == 8


def test_refusals():
    cube = extrude_polygon(SQUARE)
    with pytest.raises(GeometryError, match="no triangles are chosen"):
        extrude_faces(cube, cube.polygroups == 99, 1.0)
    with pytest.raises(GeometryError, match="direction: must be three finite numbers, not all 0"):
        extrude_faces(cube, cube.polygroups == TOP, 1.0, (0, 0, 0))
    with pytest.raises(GeometryError, match="outline: is no polygon: Self-intersection"):
        extrude_polygon([(0, 0), (2, 2), (2, 0), (0, 1)])
    with pytest.raises(GeometryError, match=r"holes\[0\]: needs at least 3 points of 2 numbers each"):
        extrude_polygon(FRAME, [[(1, 1), (2, 2)]])
    with pytest.raises(GeometryError, match="height: makes no solid: 0"):
        extrude_polygon(SQUARE, height=0)
