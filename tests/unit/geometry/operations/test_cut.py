"""Cuts by planes against volumes and areas by hand."""

from dataclasses import replace

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.measures import face_normals, is_watertight, open_edges, surface_area, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.cut import cut
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.sweep import sweep

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


@pytest.fixture(scope="module")
def cube() -> DynamicMesh:
    return extrude_polygon(SQUARE)


@pytest.mark.parametrize(
    ("point", "normal", "cubic", "square"),
    [
        ((0, 0, 0.25), (0, 0, 1), 0.25, 2 + 4 * 0.25),
        ((0.5, 0.5, 0.5), (1, 1, 0), 0.5, 1 + 2 + np.sqrt(2)),  # through four vertices
        ((0.5, 0.5, 0.5), (1, 1, 1), 0.5, 3 + 3 * np.sqrt(3) / 4),  # a regular hexagon with sides of sqrt(1/2)
        ((0, 0, 1), (0, 0, 1), 1, 6),  # the plane of a face
    ],
)
def test_a_cut_cube(cube, point, normal, cubic, square):
    mesh = cut(cube, point, normal)
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(cubic, abs=1e-14)
    assert surface_area(mesh) == pytest.approx(square, abs=1e-13)
    agree = (mesh.normals.elements[mesh.normals.corners] * face_normals(mesh)[:, None]).sum(axis=2)
    assert agree.min() > 1 - 1e-9


def test_attributes_are_interpolated_and_the_filling_is_a_new_polygroup(cube):
    mesh = cut(cube, (0.3, 0, 0), (1, 0.2, 0.1))
    chosen = mesh.polygroups == 5
    places = mesh.positions[mesh.triangles[chosen]]
    np.testing.assert_allclose(mesh.uvs[0].elements[mesh.uvs[0].corners[chosen]], places[..., :2], atol=1e-14)
    filling = mesh.polygroups == 6
    way = np.array([1, 0.2, 0.1]) / np.linalg.norm([1, 0.2, 0.1])
    np.testing.assert_allclose(mesh.positions[mesh.triangles[filling]] @ way, 0.3 * way[0], atol=1e-14)
    np.testing.assert_allclose(face_normals(mesh)[filling], np.broadcast_to(way, (filling.sum(), 3)), atol=1e-9)
    assert volume(mesh) + volume(cut(cube, (0.3, 0, 0), (-1, -0.2, -0.1))) == pytest.approx(1, abs=1e-14)


def test_rings_and_islands_are_filled_together():
    ring = sweep(0.25 * circle(1.0, 12), np.column_stack([circle(1.0, 24), np.zeros(24)]), closed=True)
    half = cut(ring, (0, 0, 0), (0, 1, 0))
    assert is_watertight(half)
    assert volume(half) == pytest.approx(volume(ring) / 2, abs=1e-12)
    flat = cut(ring, (0, 0, 0), (0, 0, 1))  # an annulus
    assert is_watertight(flat)
    assert volume(flat) == pytest.approx(volume(ring) / 2, abs=1e-12)


def test_an_open_cut_and_an_open_mesh(cube):
    assert len(open_edges(cut(cube, (0, 0, 0.5), (0, 0, 1), fill=False))) == 8
    lid = cut(cube, (0, 0, 0.5), (0, 0, -1), fill=False)
    corner = cut(lid, (0.5, 0, 0), (1, 0, 0), fill=False)
    assert surface_area(corner) == pytest.approx(0.5 + 0.5 + 2 * 0.25, abs=1e-14)
    two = append(cube, replace(cube, positions=np.add(cube.positions, (5, 0, 0))))
    assert volume(cut(two, (0, 0, 0.5), (0, 0, 1))) == pytest.approx(1, abs=1e-14)


def test_refusals(cube):
    with pytest.raises(GeometryError, match="nothing is left: all of the mesh lies in front of the plane"):
        cut(cube, (0, 0, -1), (0, 0, 1))
    with pytest.raises(GeometryError, match="normal: must be three finite numbers, not all 0"):
        cut(cube, (0, 0, 0), (0, 0, 0))
