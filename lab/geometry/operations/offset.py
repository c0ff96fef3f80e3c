"""Offsetting: every face moved along its own normal, so that planes stay planes at a distance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Integers
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.topology import corner_angles, face_vectors, require_triangles, unit

LONGEST = 4.0
"""The longest vector of ``miter_vectors``."""
SHALLOW = 0.02
"""Planes that meet at less than about 16 degrees (the squared tangent of half of it) count as one: on a smooth surface
their intersections would lie anywhere along it."""


def offset(mesh: DynamicMesh, distance: float) -> DynamicMesh:
    """Return the mesh with every face moved along its normal: outwards, or inwards where negative.

    Nothing is cut or joined: polygroups, slots and UVs stay; normals are computed anew with their seams kept.

    Args:
        mesh: any; on a closed one the result encloses what is within ``distance``, with mitred edges.
        distance: metres.

    Raises:
        GeometryError: a triangle would turn over, because the mesh is thinner or more curved than the distance.
    """
    require_triangles(mesh)
    moved = mesh.positions + distance * miter_vectors(mesh.positions, mesh.triangles)
    refuse_turned(mesh, moved, distance, "distance")
    return refresh_normals(replace(mesh, positions=moved))


def refuse_turned(mesh: DynamicMesh, moved: Floats, distance: float, *path: str) -> None:
    """Refuse moved positions that turn triangles over, or one of their sides around.

    Raises:
        GeometryError: how many.
    """
    before, after = face_vectors(mesh.positions, mesh.triangles), face_vectors(moved, mesh.triangles)
    old, new = mesh.positions[mesh.triangles], moved[mesh.triangles]
    sides = [corners - np.roll(corners, 1, axis=1) for corners in (old, new)]
    around = ((sides[0] * sides[1]).sum(axis=2) < 0).any(axis=1)
    turned = int((around | ((before * after).sum(axis=1) < 0)).sum())
    if turned:
        raise GeometryError(
            f"{distance:g} turns {turned} of {mesh.num_triangles} triangles over: the mesh is thinner or more curved "
            f"than that; take a smaller distance",
            *path,
        )


def miter_vectors(positions: Floats, triangles: Integers) -> Floats:
    """Return (V, 3) how far each vertex moves when all its triangles move by 1 along their normals.

    The vector d of least length with n · d = 1 for the normal n of every triangle at the vertex, or the nearest to that
    by least squares weighted by corner angles. Where planes meet at a sharp angle its length is held to ``LONGEST``.
    """
    normals = unit(face_vectors(positions, triangles))
    angles = corner_angles(positions, triangles)
    count = len(positions)
    outer = normals[:, :, None] * normals[:, None, :]
    flat = triangles.ravel()
    matrix = np.zeros((count, 9))
    right = np.zeros((count, 3))
    for k in range(9):
        matrix[:, k] = np.bincount(flat, (angles * outer.reshape(-1, 9)[:, k, None]).ravel(), count)
    for k in range(3):
        right[:, k] = np.bincount(flat, (angles * normals[:, k, None]).ravel(), count)
    vectors = (np.linalg.pinv(matrix.reshape(-1, 3, 3), rcond=SHALLOW, hermitian=True) @ right[..., None])[..., 0]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > LONGEST, vectors * (LONGEST / np.maximum(length, 1e-300)), vectors)
