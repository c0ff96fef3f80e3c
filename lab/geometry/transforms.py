"""Affine transforms: (4, 4) float64 matrices that multiply column vectors, and what they do to a mesh."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Overlay
from lab.geometry.topology import unit


def translation(offset: ArrayLike) -> Floats:
    """Return the matrix that moves by (3,) metres."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def scaling(factors: ArrayLike) -> Floats:
    """Return the matrix that scales along x, y, z by (3,) factors or by one; a negative one mirrors."""
    return np.diag([*np.broadcast_to(np.asarray(factors, dtype=np.float64), 3), 1.0])


def rotation(degrees: ArrayLike) -> Floats:
    """Return the rotation about the world's x, then y, then z axis by (3,) degrees; exact at multiples of 90."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.asarray(degrees, dtype=np.float64)):
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        if angle % 90 == 0:
            cosine, sine = np.round(cosine), np.round(sine)
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(4)
        turn[[first, second], [first, second]] = cosine
        turn[first, second], turn[second, first] = -sine, sine
        matrix = turn @ matrix
    return matrix


def pose(at: ArrayLike, rotate: ArrayLike, scale: ArrayLike) -> Floats:
    """Return the matrix that scales, then rotates (degrees), then moves."""
    return np.asarray(translation(at) @ rotation(rotate) @ scaling(scale))


def transformed(mesh: DynamicMesh, matrix: ArrayLike) -> DynamicMesh:
    """Return a mesh moved by an affine matrix: normals by the inverse transpose; a mirrored one keeps its outside.

    Args:
        mesh: any.
        matrix: (4, 4); the last row is (0, 0, 0, 1).

    Raises:
        GeometryError: the matrix is not affine, not finite, or flattens the mesh.
    """
    full = np.asarray(matrix, dtype=np.float64)
    if full.shape != (4, 4) or not np.isfinite(full).all() or not np.array_equal(full[3], [0, 0, 0, 1]):
        raise GeometryError("a transform is a finite (4, 4) matrix whose last row is 0, 0, 0, 1")
    linear = full[:3, :3]
    lengths = np.linalg.norm(linear, axis=0)
    determinant = np.linalg.det(linear)
    if not abs(determinant) > 1e-12 * np.prod(lengths) or not lengths.all():
        raise GeometryError("a transform that flattens the mesh cannot be undone: each factor of a scale is not 0")
    moved = dataclasses.replace(mesh, positions=mesh.positions @ linear.T + full[:3, 3])
    if mesh.normals is not None:
        turned = unit(mesh.normals.elements @ np.linalg.inv(linear))
        moved = dataclasses.replace(moved, normals=Overlay(turned, mesh.normals.corners))
    return _turned_around(moved) if determinant < 0 else moved


def _turned_around(mesh: DynamicMesh) -> DynamicMesh:
    normals = mesh.normals
    return dataclasses.replace(
        mesh,
        triangles=mesh.triangles[:, ::-1],
        normals=None if normals is None else Overlay(normals.elements, normals.corners[:, ::-1]),
        uvs=tuple(Overlay(layer.elements, layer.corners[:, ::-1]) for layer in mesh.uvs),
    )


def inside_out(mesh: DynamicMesh) -> DynamicMesh:
    """Return a mesh whose triangles and normals face the other way."""
    turned = _turned_around(mesh)
    if turned.normals is None:
        return turned
    return dataclasses.replace(turned, normals=Overlay(-turned.normals.elements, turned.normals.corners))


def refuse_flat(scale: tuple[float, float, float]) -> None:
    """Refuse a scale with a 0, which would flatten the mesh.

    Raises:
        GeometryError: it has one.
    """
    if not all(scale):
        raise GeometryError("must not be 0 along any axis", "scale")
