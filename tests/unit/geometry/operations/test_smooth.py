"""Smoothing against steps by hand, and what Taubin's method is for."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.polygons import circle
from lab.geometry.operations.revolve import revolve
from lab.geometry.operations.smooth import PASS_BAND, smooth

OCTAHEDRON = DynamicMesh(
    np.concatenate([np.eye(3), -np.eye(3)]),
    [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]],
    np.zeros(8),
    np.zeros(8),
)


def test_an_octahedron_shrinks_by_its_strength_since_its_neighbours_middle_is_its_centre():
    np.testing.assert_allclose(smooth(OCTAHEDRON, 0.25, 3, "laplacian").positions, 0.75**3 * OCTAHEDRON.positions)
    swell = 1 / (PASS_BAND - 1 / 0.25)
    expected = (0.75 * (1 - swell)) ** 2 * OCTAHEDRON.positions
    np.testing.assert_allclose(smooth(OCTAHEDRON, 0.25, 2).positions, expected)


def test_taubins_method_keeps_the_volume():
    ring = revolve(np.add(circle(0.3, 24), (1, 0)), steps=48)
    rough = DynamicMesh(
        ring.positions + np.random.default_rng(0).normal(0, 0.01, ring.positions.shape),
        ring.triangles,
        ring.polygroups,
        ring.slots,
    )
    taubin, laplacian = smooth(rough, 0.5, 20), smooth(rough, 0.5, 20, "laplacian")
    assert volume(taubin) == pytest.approx(volume(ring), rel=0.03)  # long waves swell a little: 2.2 %
    assert volume(laplacian) < 0.85 * volume(ring)
    away = [
        np.abs(np.hypot(np.hypot(*mesh.positions[:, :2].T) - 1, mesh.positions[:, 2]) - 0.3).mean()
        for mesh in (rough, taubin)
    ]
    assert away[1] < 0.5 * away[0]


def test_borders_stay():
    tube = revolve([(1, 0), (1.2, 0.5), (1, 1)], closed=False, steps=12)
    border = np.isin(tube.positions[:, 2], [0, 1])
    result = smooth(tube, 0.5, 5, "laplacian")
    np.testing.assert_array_equal(result.positions[border], tube.positions[border])
    assert (np.linalg.norm(result.positions[~border, :2], axis=1) < 1.2).all()
    with pytest.raises(GeometryError, match="strength: must be above 0 and at most 1, not 2"):
        smooth(tube, 2.0)
