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
    flat, vertices = values.reshape(-1, dimensions), triangles.reshape(-1)
    has = np.flatnonzero(~np.isnan(flat).any(1))
    rounded = np.round(flat[has], SAME) + 0.0  # + 0.0 makes -0.0 the same as 0.0
    order = np.lexsort((*rounded.T[::-1], vertices[has]))
    rounded, sorted_vertices = rounded[order], vertices[has][order]
    starts = np.ones(len(has), dtype=bool)
    starts[1:] = (sorted_vertices[1:] != sorted_vertices[:-1]) | (rounded[1:] != rounded[:-1]).any(1)
    corners = np.full(len(flat), UNSET, dtype=np.int64)
    corners[has[order]] = np.cumsum(starts) - 1
    return Overlay(flat[has[order[starts]]], corners.reshape(-1, 3))


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
