"""Voxels: which are full against a formula, and what a mesh loses on the way and back."""

from __future__ import annotations

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.measures import is_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.primitives.round import Torus
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Context
from lab.geometry.transforms import pose, transformed
from lab.geometry.voxels import from_voxels, to_voxels

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def centres(voxels) -> np.ndarray:
    places = np.stack(np.meshgrid(*map(np.arange, voxels.full.shape), indexing="ij"), axis=-1)
    return voxels.origin + voxels.size * (places + 0.5)


@pytest.fixture(scope="module")
def ball() -> DynamicMesh:
    return Sphere(radius=1.0, rings=32, sides=64, pivot="centre").apply(empty_mesh(), Context())


def test_a_cube_of_whole_voxels_comes_back_exactly() -> None:
    """Centres of columns lie on the diagonals of its faces, and its walls on the borders of voxels."""
    mesh = extrude_polygon(SQUARE)
    voxels = to_voxels(mesh, 0.125)
    assert voxels.full.sum() == 8**3
    assert voxels.volume == pytest.approx(1, abs=1e-14)
    back = from_voxels(voxels)
    assert is_watertight(back)
    assert volume(back) == pytest.approx(1, abs=1e-13)
    assert surface_area(back) == pytest.approx(6, abs=1e-13)
    np.testing.assert_allclose([back.positions.min(0), back.positions.max(0)], [(0, 0, 0), (1, 1, 1)], atol=1e-15)
    assert sorted(set(back.polygroups)) == list(range(6))
    ways = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
    a, b, c = np.moveaxis(back.positions[back.triangles], 1, 0)
    normals = np.cross(b - a, c - a) / 0.125**2
    np.testing.assert_allclose(normals, ways[back.polygroups], atol=1e-12)


def test_full_voxels_are_those_whose_centres_are_inside(ball: DynamicMesh) -> None:
    """Against the ball itself: only centres within the mesh's own error (0.5 %) of its surface may differ."""
    voxels = to_voxels(ball, 0.1)
    radius = np.linalg.norm(centres(voxels), axis=-1)
    assert voxels.full[radius < 0.995].all()
    assert not voxels.full[radius > 1.0].any()
    assert not voxels.full[[0, -1]].any()


def test_the_volume_comes_right_and_the_surface_does_not(ball: DynamicMesh) -> None:
    errors = [abs(to_voxels(ball, size).volume / volume(ball) - 1) for size in (0.2, 0.1, 0.05)]
    assert errors[0] < 0.07  # measured: 5.8e-2, 1.2e-2, 1.9e-3
    assert errors[1] < 0.02
    assert errors[2] < 0.004
    back = from_voxels(to_voxels(ball, 0.05))
    assert is_watertight(back)
    assert surface_area(back) / (4 * np.pi) == pytest.approx(1.5, rel=0.02)  # measured: 1.509


def test_overlapping_parts_and_a_hole_count_once() -> None:
    cube = extrude_polygon(SQUARE)
    two = append(cube, transformed(cube, pose((0.5, 0.0, 0.0), (0, 0, 0), (1, 1, 1))))
    assert to_voxels(two, 0.125).volume == pytest.approx(1.5, abs=1e-12)
    ring = Torus(radius=1.0, tube_radius=0.3, sides=48, tube_sides=24, pivot="centre").apply(empty_mesh(), Context())
    voxels = to_voxels(ring, 0.05)
    assert not voxels.full[tuple(size // 2 for size in voxels.full.shape)]
    assert voxels.volume == pytest.approx(volume(ring), rel=0.01)


def test_what_cannot_be_is_refused() -> None:
    cube = extrude_polygon(SQUARE)
    opened = DynamicMesh(cube.positions, cube.triangles[:-2], cube.polygroups[:-2], cube.slots[:-2])
    with pytest.raises(GeometryError, match="to fill with voxels must be watertight and has 4 open edges"):
        to_voxels(opened, 0.1)
    with pytest.raises(GeometryError, match=r"size: 0.0001 makes .* cells of 134217728: should be above 0.00195"):
        to_voxels(cube, 1e-4)
    with pytest.raises(GeometryError, match="size: must be above 0, not -1"):
        to_voxels(cube, -1.0)
