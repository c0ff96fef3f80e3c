"""From static meshes back to editable ones: only what baking itself loses is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.geometry.bake import bake
from lab.geometry.deviation import deviation
from lab.geometry.measures import is_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh, Material, empty_mesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.primitives.round import Cylinder
from lab.geometry.static_mesh import StaticMesh
from lab.geometry.thaw import thaw
from lab.geometry.tool import Context
from lab.geometry.validation import validate

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


@pytest.fixture(scope="module")
def drum() -> DynamicMesh:
    """Smooth walls, flat caps, UV with seams, two materials, positions that float32 cannot hold."""
    mesh = Cylinder(radius=0.7, height=1.1, sides=16, at=(0.1, 0.2, 0.3)).apply(empty_mesh(), Context())
    high = (mesh.positions[mesh.triangles][..., 2] > 1.39).all(1)
    return replace(mesh, slots=high.astype(np.int64), materials=(Material("tin"), Material("lid", (1.0, 0.0, 0.0))))


def corners_of(static: StaticMesh) -> np.ndarray:
    """(F, 3, 12) all that the corners of triangles have."""
    values = np.concatenate([static.positions, static.normals, static.tangents, static.uvs], axis=1)
    return values[static.triangles]


def test_baking_again_gives_the_same_corners(drum: DynamicMesh) -> None:
    static = bake(drum)
    mesh = thaw(static)
    validate(mesh)
    again = bake(mesh)
    assert again.positions.shape == static.positions.shape
    for values in ("positions", "uvs"):
        np.testing.assert_array_equal(
            getattr(again, values)[again.triangles], getattr(static, values)[static.triangles]
        )
    np.testing.assert_allclose(corners_of(again), corners_of(static), atol=3e-7)  # unit vectors scaled again: 7.9e-8
    np.testing.assert_array_equal(again.slots, static.slots)
    assert again.materials == static.materials


def test_the_loss_is_that_of_float32(drum: DynamicMesh) -> None:
    mesh = thaw(bake(drum))
    assert is_watertight(mesh)
    assert mesh.num_vertices == drum.num_vertices
    lost = deviation(mesh, drum)
    assert lost.largest < 1.4 * 2**-24 * np.sqrt(3)  # half a digit of numbers below 2, on each axis
    assert abs(lost.volume) < 2e-7  # measured: 2.9e-8
    # A prism of 16 sides: the closed forms.
    base = 16 / 2 * 0.7**2 * np.sin(2 * np.pi / 16)
    assert volume(mesh) == pytest.approx(base * 1.1, rel=1e-6)
    assert surface_area(mesh) == pytest.approx(2 * base + 16 * 2 * 0.7 * np.sin(np.pi / 16) * 1.1, rel=1e-6)


def test_polygroups_are_what_no_seam_divides() -> None:
    """A cube has six flat sides; painted, its top is two."""
    cube = extrude_polygon(SQUARE)
    assert len(set(thaw(bake(cube)).polygroups)) == 6
    top = np.flatnonzero((cube.positions[cube.triangles][..., 2] == 1).all(1))
    slots = np.zeros(12, dtype=np.int64)
    slots[top[0]] = 1
    painted = replace(cube, slots=slots, materials=(Material("a"), Material("b")))
    assert len(set(thaw(bake(painted)).polygroups)) == 7


def test_without_uv_there_is_no_layer_and_an_empty_mesh_thaws() -> None:
    assert thaw(bake(replace(extrude_polygon(SQUARE), uvs=()))).uvs == ()
    assert thaw(bake(empty_mesh())).num_triangles == 0
