"""Attribute overlays: from values at triangle corners to shared elements, and back."""

from __future__ import annotations

import numpy as np

from lab.geometry.mesh import UNSET, Floats, Integers, Overlay

SAME = 9
"""Decimals to which two values at a vertex are one element."""


def overlay_from_corners(values: Floats, triangles: Integers) -> Overlay:
    """Return the overlay of values at corners; corners of one vertex with the same value share an element.

    Args:
        values: (F, 3, D); NaN where a corner has none.
        triangles: (F, 3) vertices.
    """
    dimensions = values.shape[-1]
    rows = np.column_stack([triangles.reshape(-1), np.round(values.reshape(-1, dimensions), SAME) + 0.0])
    has = ~np.isnan(rows[:, 1:]).any(1)
    corners = np.full(len(rows), UNSET, dtype=np.int64)
    _, first, inverse = np.unique(rows[has], axis=0, return_index=True, return_inverse=True)
    corners[has] = inverse.reshape(-1)
    return Overlay(values.reshape(-1, dimensions)[has][first], corners.reshape(-1, 3))


def corner_values(overlay: Overlay) -> Floats:
    """Return (F, 3, D) values at corners, NaN where the overlay has none."""
    if len(overlay.elements) == 0:
        return np.full((*overlay.corners.shape, overlay.elements.shape[-1]), np.nan)
    values = overlay.elements[overlay.corners]
    values[overlay.corners == UNSET] = np.nan
    return values


def kept_corners(overlay: Overlay, chosen: np.ndarray) -> Overlay:
    """Return the overlay of some triangles, without elements that none of them uses.

    Args:
        overlay: of a mesh.
        chosen: (F,) bool or indices of the triangles to keep, in their order.
    """
    corners = overlay.corners[chosen]
    used, inverse = np.unique(corners, return_inverse=True)
    unset = int(len(used) > 0 and used[0] == UNSET)
    return Overlay(overlay.elements[used[unset:]], inverse.reshape(corners.shape) - unset)


def joined_overlays(first: Overlay, second: Overlay) -> Overlay:
    """Return the overlay of two meshes' triangles, one after the other."""
    shifted = np.where(second.corners == UNSET, UNSET, second.corners + len(first.elements))
    return Overlay(np.vstack([first.elements, second.elements]), np.vstack([first.corners, shifted]))


def unset_overlay(num_triangles: int, dimensions: int) -> Overlay:
    """Return an overlay that says nothing about any corner."""
    return Overlay(np.zeros((0, dimensions)), np.full((num_triangles, 3), UNSET))
