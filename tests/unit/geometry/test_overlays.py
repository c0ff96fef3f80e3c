"""Corners and elements: shared where vertex and value are the same, unset where there is no value."""

from __future__ import annotations

import numpy as np

from lab.geometry.mesh import UNSET
from lab.geometry.overlays import corner_values, joined_overlays, kept_corners, overlay_from_corners, unset_overlay

TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [1, 0, 4]])
A, B, NONE = [1.0, 0.0], [0.0, -0.0], [np.nan, np.nan]
VALUES = np.array([[A, A, B], [A, B, NONE], [B, [1.0, 1e-12], A]])


def test_corners_of_a_vertex_share_equal_values() -> None:
    """Vertex 0 has A, vertex 1 A and B, vertex 2 B, vertex 3 none, vertex 4 A: five elements."""
    overlay = overlay_from_corners(VALUES, TRIANGLES)
    assert len(overlay.elements) == 5
    assert overlay.corners[0, 0] == overlay.corners[1, 0] == overlay.corners[2, 1]
    assert overlay.corners[0, 2] == overlay.corners[1, 1]
    assert overlay.corners[1, 2] == UNSET
    np.testing.assert_allclose(corner_values(overlay), VALUES, atol=1e-9)


def test_elements_that_no_kept_triangle_uses_go() -> None:
    overlay = overlay_from_corners(VALUES, TRIANGLES)
    kept = kept_corners(overlay, np.array([1]))
    assert len(kept.elements) == 2
    np.testing.assert_array_equal(corner_values(kept), corner_values(overlay)[[1]])


def test_overlays_are_joined() -> None:
    overlay = overlay_from_corners(VALUES, TRIANGLES)
    both = joined_overlays(unset_overlay(2, 2), overlay)
    assert np.isnan(corner_values(both)[:2]).all()
    np.testing.assert_array_equal(corner_values(both)[2:], corner_values(overlay))
    assert np.isnan(corner_values(unset_overlay(2, 3))).all()
