"""Recomputed normals: weights by hand, seams where they are asked for."""

from dataclasses import replace

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.normals import recompute_normals, refresh_normals
from lab.geometry.operations.polygons import circle

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def tent() -> DynamicMesh:
    """Two triangles at a ridge along x: one flat in xy, one upright in xz and larger."""
    positions = np.array([(0.0, 0, 0), (1, 0, 0), (0, -1, 0), (0, 0, -2)])
    return DynamicMesh(positions, [[1, 0, 2], [0, 1, 3]], [0, 1], np.zeros(2))


@pytest.mark.parametrize(
    ("weight", "share"),
    [("face", (1, 1)), ("area", (1, 2)), ("angle", (90, 90)), ("both", (1 * 90, 2 * 90))],
)
def test_weights_at_the_ridges_start(weight, share):
    mesh = recompute_normals(tent(), weight, "none")
    normals = mesh.normals.elements[mesh.normals.corners]
    flat, upright = np.cross((-1, 0, 0), (-1, -1, 0)), np.cross((1, 0, 0), (0, 0, -2)) / 2
    expected = share[0] * flat / np.linalg.norm(flat) + share[1] * upright / np.linalg.norm(upright)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(normals[0, 1], expected, atol=1e-14)
    np.testing.assert_array_equal(normals[0, 1], normals[1, 0])


def test_seams():
    cube = extrude_polygon(SQUARE)
    counts = {
        word: len(recompute_normals(cube, split=word).normals.elements) for word in ("none", "angle", "groups", "all")
    }
    assert counts == {"none": 8, "angle": 24, "groups": 24, "all": 36}
    one = replace(cube, polygroups=0 * cube.polygroups)
    assert len(recompute_normals(one, split="groups").normals.elements) == 8
    assert len(recompute_normals(one, split="angle", angle=90).normals.elements) == 8  # up to and with the angle
    drum = extrude_polygon(circle(1.0, 6))  # 60 degrees between its sides, each a polygroup of its own
    assert len(recompute_normals(drum, split="both", angle=40).normals.elements) == 12 + 4 * 6
    smooth = replace(drum, polygroups=np.minimum(drum.polygroups, 0) + np.maximum(drum.polygroups - 5, 0))
    assert len(recompute_normals(smooth, split="both", angle=40).normals.elements) == 12 + 2 * 6


def test_refreshing_keeps_seams_and_follows_positions():
    cube = extrude_polygon(SQUARE)
    squashed = replace(cube, positions=cube.positions * [1, 1, 3] @ [[1, 0, 0.5], [0, 1, 0], [0, 0, 1]])
    mesh = refresh_normals(squashed)
    assert len(mesh.normals.elements) == 24
    top = mesh.normals.elements[mesh.normals.corners[mesh.polygroups == 5]]
    np.testing.assert_allclose(top, np.broadcast_to(np.array([-0.5, 0, 1]) / np.hypot(1, 0.5), top.shape), atol=1e-14)
    bare = replace(cube, normals=None)
    assert refresh_normals(bare) is bare
    with pytest.raises(GeometryError, match="split: 'edges' is none of none, angle, groups, both, all"):
        recompute_normals(cube, split="edges")
