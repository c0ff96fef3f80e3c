"""Meshes as volumes of convex polygons and back: what is lost, against closed forms."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.deviation import deviation
from lab.geometry.measures import is_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.operations.booleans import difference
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.subdivide import subdivide
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Context
from lab.geometry.transforms import pose, transformed
from lab.geometry.volume import Volume, VolumeOptions, from_volume, to_volume

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]
CORNER = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
"""An L of three squares."""


def corners(made: Volume) -> Counter[int]:
    return Counter(map(len, made.polygons))


def is_flat_and_convex(made: Volume) -> bool:
    """By the definition, polygon by polygon: all vertices on or left of every side, none beside the plane."""
    for polygon in made.polygons:
        points = made.positions[polygon]
        sides = np.roll(points, -1, axis=0) - points
        normal = np.cross(points - points.mean(0), np.roll(points, -1, axis=0) - points.mean(0)).sum(0)
        normal /= np.linalg.norm(normal)
        away = points[None] - points[:, None]
        left = np.cross(sides[:, None], away) @ normal
        if left.min() < -1e-9 or np.abs(away @ normal).max() > 1e-9:
            return False
    return True


def test_a_subdivided_cube_is_six_squares_and_comes_back_whole() -> None:
    mesh = subdivide(extrude_polygon(SQUARE), 3)
    made = to_volume(mesh)
    assert corners(made) == {4: 6}
    assert sorted(made.polygroups) == sorted(set(mesh.polygroups))
    back = from_volume(made)
    assert back.num_triangles == made.num_triangles == 12
    assert is_watertight(back)
    assert volume(back) == pytest.approx(1, abs=1e-14)
    assert deviation(back, mesh).largest < 1e-12  # worst measured: 2.5e-16


def test_a_concave_face_is_cut_into_few_convex_polygons() -> None:
    """An L has one reflex corner: at most three polygons, above and below; its six walls are squares."""
    made = to_volume(extrude_polygon(CORNER))
    assert 2 * 2 + 6 <= len(made.polygons) <= 2 * 3 + 6
    assert is_flat_and_convex(made)
    back = from_volume(made)
    assert is_watertight(back)
    assert volume(back) == pytest.approx(3, abs=1e-14)
    assert surface_area(back) == pytest.approx(2 * 3 + 8, abs=1e-13)


def test_a_face_with_a_hole_and_walls_of_many_sides() -> None:
    """A block with a prism of 12 sides taken out: exact, since nothing but flat parts is joined."""
    hole = transformed(extrude_polygon(circle(0.3, 12)), pose((0.5, 0.5, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    mesh = difference(extrude_polygon(SQUARE), transformed(hole, pose((0, 0, -0.5), (0, 0, 0), (1, 1, 2))))
    made = to_volume(mesh)
    assert is_flat_and_convex(made)
    assert corners(made)[4] >= 4 + 12
    back = from_volume(made)
    assert is_watertight(back)
    ring = 12 / 2 * 0.3**2 * np.sin(2 * np.pi / 12)
    assert volume(back) == pytest.approx(1 - ring, abs=1e-12)
    assert surface_area(back) == pytest.approx(4 + 2 * (1 - ring) + 12 * 2 * 0.3 * np.sin(np.pi / 12), abs=1e-12)


def test_group_boundaries_are_respected_when_asked() -> None:
    mesh = subdivide(extrude_polygon(SQUARE), 1)
    halves = mesh.positions[mesh.triangles].mean(1)[:, 0] > 0.5
    painted = replace(mesh, polygroups=mesh.polygroups + 100 * halves)
    assert len(to_volume(painted).polygons) == 2 + 4 * 2
    assert len(to_volume(painted, VolumeOptions(respect_group_boundaries=False)).polygons) == 6


def test_a_sphere_needs_more_triangles_than_allowed_or_loses_shape() -> None:
    ball = Sphere(radius=1.0, rings=16, sides=24).apply(empty_mesh(), Context())
    with pytest.raises(GeometryError, match=r"max_triangles: the volume needs \d+ triangles and 250 are allowed"):
        to_volume(ball)
    made = to_volume(ball, VolumeOptions(auto_simplify=True, respect_group_boundaries=False))
    assert made.num_triangles <= 250
    back = from_volume(made)
    assert is_watertight(back)
    lost = deviation(back, ball)
    assert abs(lost.volume) < 0.03
    assert lost.largest < 0.06
    whole = to_volume(ball, VolumeOptions(max_triangles=2000))
    assert volume(from_volume(whole)) == pytest.approx(volume(ball), rel=1e-9)


def test_an_open_mesh_is_refused_and_its_edges_counted() -> None:
    cube = extrude_polygon(SQUARE)
    opened = DynamicMesh(cube.positions, cube.triangles[:-2], cube.polygroups[:-2], cube.slots[:-2])
    with pytest.raises(GeometryError, match="the mesh of a volume must be watertight and has 4 open edges of 30"):
        to_volume(opened)
