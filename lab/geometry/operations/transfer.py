"""Attributes carried over to triangles that are parts of other triangles, by barycentric interpolation."""

from __future__ import annotations

import numpy as np

from lab.geometry.mesh import DynamicMesh, Floats, Integers, Overlay
from lab.geometry.overlays import corner_values, overlay_from_corners
from lab.geometry.topology import barycentric, face_vectors, filled_normals, unit


def transfer(mesh: DynamicMesh, positions: Floats, triangles: Integers, source: Integers) -> DynamicMesh:
    """Return a mesh whose triangles are parts of another's triangles, with their attributes.

    A triangle that faces the other way than its source has its normals negated. A corner takes the values of the point
    of its source that is nearest in the plane; where the source has an unset corner, it is unset.

    Args:
        mesh: where the triangles come from.
        positions: (V, 3).
        triangles: (F, 3).
        source: (F,) the triangle of ``mesh`` that each is a part of.
    """
    corners = mesh.positions[mesh.triangles[source]]
    weights = barycentric(positions[triangles], corners)
    vectors = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = None
    if mesh.normals is not None:
        turned = (face_vectors(positions, triangles) * vectors).sum(axis=1) < 0
        values = unit(weights @ corner_values(mesh.normals)[source])
        normals = overlay_from_corners(np.where(turned[:, None, None], -values, values), triangles)
        normals = Overlay(filled_normals(normals.elements, normals.corners, positions, triangles), normals.corners)
    uvs = tuple(overlay_from_corners(weights @ corner_values(layer)[source], triangles) for layer in mesh.uvs)
    return DynamicMesh(positions, triangles, mesh.polygroups[source], mesh.slots[source], mesh.materials, normals, uvs)
