"""Offsets and shells against volumes by hand."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.joining import with_triangles
from lab.geometry.measures import face_normals, is_watertight, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.offset import offset
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.shell import shell
from lab.geometry.operations.subdivide import subdivide

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]
L_SHAPE = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 3), (0, 3)]


def assert_sound(mesh: DynamicMesh) -> None:
    assert is_watertight(mesh)
    agree = (mesh.normals.elements[mesh.normals.corners] * face_normals(mesh)[:, None]).sum(axis=2)
    assert agree.min() > 0.5
    assert (mesh.uvs[0].corners >= 0).all()


@pytest.mark.parametrize("distance", [0.25, -0.25])
def test_planes_are_offset_by_the_distance_round_inner_corners_too(distance):
    mesh = offset(subdivide(extrude_polygon(L_SHAPE), 1), distance)
    d = 2 * distance
    # The arm stays as wide as it was plus 2 d, and so do the lengths: (2 + d)(1 + d) + (1 + d) * 2.
    assert volume(mesh) == pytest.approx(((2 + d) * (1 + d) + (1 + d) * 2) * (1 + d), abs=1e-12)
    assert_sound(mesh)


def test_a_hollow_cube_in_and_out():
    cube = extrude_polygon(SQUARE)
    for thickness, cubic in ((0.1, 1 - 0.8**3), (-0.1, 1.2**3 - 1)):
        mesh = shell(cube, thickness)
        assert volume(mesh) == pytest.approx(cubic, abs=1e-14)
        assert_sound(mesh)
        np.testing.assert_array_equal(np.bincount(mesh.polygroups), 2)
        assert len(np.unique(mesh.polygroups)) == 12


def test_an_open_box_becomes_a_tray():
    cube = extrude_polygon(SQUARE)
    box = with_triangles(cube, cube.polygroups != 5)
    for thickness, cubic in ((0.1, 1 - 0.8 * 0.8 * 0.9), (-0.1, 1.2 * 1.2 * 1.1 - 1)):
        mesh = shell(box, thickness)
        assert volume(mesh) == pytest.approx(cubic, abs=1e-13)
        assert_sound(mesh)
        assert len(np.unique(mesh.polygroups)) == 5 + 5 + 4  # the rim has four sides


def test_a_tube_of_a_round_wall():
    drum = extrude_polygon(circle(1.0, 32), height=2)
    wall = with_triangles(drum, drum.polygroups == 0)
    mesh = shell(wall, 0.25)
    apothem = np.cos(np.pi / 32)  # each flat side moves by the thickness
    area = 32 * np.tan(np.pi / 32) * (apothem**2 - (apothem - 0.25) ** 2)
    assert volume(mesh) == pytest.approx(2 * area, abs=1e-12)
    assert_sound(mesh)


def test_what_is_too_thin_is_refused_and_counted():
    with pytest.raises(GeometryError, match=r"distance: -0\.6 turns 12 of 12 triangles over"):
        offset(extrude_polygon(SQUARE), -0.6)
    with pytest.raises(GeometryError, match=r"thickness: 0\.6 turns 12 of 12 triangles over"):
        shell(extrude_polygon(SQUARE), 0.6)
    with pytest.raises(GeometryError, match="thickness: makes no shell: 0"):
        shell(extrude_polygon(SQUARE), 0)
