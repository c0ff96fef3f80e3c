"""Remeshing: lengths, angles, the surface and what must stay."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import face_normals, is_watertight, surface_area, volume
from lab.geometry.mesh import DynamicMesh, empty_mesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.remesh import remesh
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Context
from lab.geometry.topology import corner_angles


def sides(mesh: DynamicMesh) -> np.ndarray:
    corners = mesh.positions[mesh.triangles]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)


@pytest.fixture(scope="module")
def slab() -> DynamicMesh:
    return remesh(extrude_polygon([(0, 0), (3, 0), (3, 2), (0, 2)], height=1), 0.25)


def test_edges_are_of_about_one_length_and_triangles_well_shaped(slab):
    lengths = sides(slab)
    low, high = np.quantile(lengths, [0.05, 0.95])  # 0.156 and 0.319
    assert 0.6 * 0.25 < low < high < 4 / 3 * 0.25
    assert lengths.mean() == pytest.approx(0.25, rel=0.1)
    assert (
        np.degrees(np.quantile(corner_angles(slab.positions, slab.triangles), 0.01)) > 20
    )  # 26; 24 with manifold3d 3.2


def test_flat_faces_edges_polygroups_and_uvs_stay(slab):
    assert is_watertight(slab)
    assert volume(slab) == pytest.approx(6, abs=1e-10)
    assert surface_area(slab) == pytest.approx(22, abs=1e-10)
    for group, axis, value in ((4, 2, 0.0), (5, 2, 1.0)):
        chosen = slab.polygroups == group
        places = slab.positions[slab.triangles[chosen]]
        np.testing.assert_allclose(places[..., axis], value, atol=1e-12)
        np.testing.assert_allclose(slab.uvs[0].elements[slab.uvs[0].corners[chosen]], places[..., :2], atol=1e-10)
    assert np.bincount(slab.polygroups).shape == (6,)


def test_a_round_drum_stays_round():
    drum = extrude_polygon(circle(1.0, 48), height=1.0)
    mesh = remesh(drum, 0.2, iterations=3)
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(volume(drum), rel=0.015)  # 0.7 %: longer edges, shorter chords
    assert np.linalg.norm(mesh.positions[:, :2], axis=1).max() <= 1 + 1e-9


def test_refusals():
    slab = extrude_polygon([(0, 0), (3, 0), (3, 2), (0, 2)])
    with pytest.raises(GeometryError, match=r"length: 0.001 makes about \d+ triangles, more than 1000"):
        remesh(slab, 0.001, most=1000)


def test_a_ball_keeps_facing_outwards():
    ball = Sphere(radius=0.5).apply(empty_mesh(), Context())
    mesh = remesh(ball, 0.15)
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(volume(ball), rel=0.03)
    outward = (face_normals(mesh) * (mesh.positions[mesh.triangles].mean(axis=1) - [0, 0, 0.5])).sum(axis=1)
    assert outward.min() > 0.25
