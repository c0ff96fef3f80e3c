"""Collision: convex parts, by definition, and how much more they hold than the mesh."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.bake import bake
from lab.geometry.collision import (
    CollisionOptions,
    ConvexPart,
    collision_mesh,
    collision_parts,
    parts_volume,
    with_collision,
)
from lab.geometry.deviation import deviation
from lab.geometry.measures import is_watertight
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.primitives.round import Torus
from lab.geometry.queries import SpatialIndex
from lab.geometry.tool import Context

CORNER = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
"""An L of three squares."""
RING = 2 * np.pi**2 * 0.3**2
"""The volume of a torus of radii 1 and 0.3."""


def beyond(part: ConvexPart) -> float:
    """How far a vertex of a part lies outside of one of its triangles' planes: 0 of a convex one."""
    vertices, triangles = (values.astype(float) for values in part)
    a, b, c = np.moveaxis(vertices[triangles.astype(int)], 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return float(((vertices[None] - a[:, None]) * normals[:, None]).sum(2).max())


def test_an_l_is_two_boxes() -> None:
    mesh = extrude_polygon(CORNER)
    static = with_collision(bake(mesh))
    assert len(static.collision) == 2
    assert parts_volume(static.collision) == pytest.approx(3, rel=1e-3)  # measured: 2.9997
    assert max(map(beyond, static.collision)) < 1e-6
    shown = collision_mesh(static)
    assert is_watertight(shown)
    assert set(shown.polygroups) == {0, 1}
    assert deviation(shown, mesh).largest < 0.71  # of the wall between both parts, which the mesh does not have
    assert SpatialIndex(shown).distances(mesh.positions).max() < 1e-3
    again = collision_parts(mesh)
    assert all(
        np.array_equal(*pair)
        for one, other in zip(static.collision, again, strict=True)
        for pair in zip(one, other, strict=True)
    )


def test_a_ring_keeps_its_hole_as_far_as_the_threshold_asks() -> None:
    ring = Torus(radius=1.0, tube_radius=0.3, sides=24, tube_sides=12, pivot="centre").apply(empty_mesh(), Context())
    parts = collision_parts(ring, CollisionOptions(threshold=0.3, max_vertices=24))
    assert 3 <= len(parts) <= 8
    assert max(map(beyond, parts)) < 1e-5
    assert all(len(vertices) <= 24 for vertices, _ in parts)
    assert 0.8 < parts_volume(parts) / RING < 1.3  # measured: 0.892; 1.174 with parts of any number of vertices
    for vertices, _ in parts:  # no part spans the middle
        assert vertices.max(0)[0] < 0.2 or vertices.min(0)[0] > -0.2 or abs(vertices[:, 1]).min() > 0.2
    hull = collision_parts(ring, CollisionOptions(method="hull"))
    assert len(hull) == 1
    assert parts_volume(hull) > 1.5 * RING  # measured: 1.58
    box = collision_parts(ring, CollisionOptions(method="box"))
    assert parts_volume(box) == pytest.approx(2.6 * 2.6 * 0.6, rel=1e-6)
    assert box[0][0].shape == (8, 3)


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = extrude_polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
    opened = DynamicMesh(cube.positions, cube.triangles[:-2], cube.polygroups[:-2], cube.slots[:-2])
    with pytest.raises(GeometryError, match="to cut into convex parts must be watertight and has 4 open edges of 30"):
        collision_parts(opened)
    assert len(collision_parts(opened, CollisionOptions(method="hull"))) == 1
    flat = DynamicMesh(cube.positions * (1, 1, 0), cube.triangles, cube.polygroups, cube.slots)
    with pytest.raises(GeometryError, match="the 8 vertices have no volume"):
        collision_parts(flat, CollisionOptions(method="hull"))
    with pytest.raises(GeometryError, match="is flat, so its box has no volume"):
        collision_parts(flat, CollisionOptions(method="box"))
    with pytest.raises(GeometryError, match="threshold"):
        CollisionOptions(threshold=2.0)
    monkeypatch.setitem(sys.modules, "coacd", None)
    with pytest.raises(GeometryError, match=r"convex parts need CoACD: pip install 'lab\[geometry\]'"):
        collision_parts(cube)
