"""Numbers of a mesh: edges, areas, volume; whether it is closed."""

from __future__ import annotations

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Integers
from lab.geometry.topology import face_vectors, unit


def area_vectors(mesh: DynamicMesh) -> Floats:
    """Return (F, 3): outward, as long as the triangle's area, square metres."""
    return face_vectors(mesh.positions, mesh.triangles) / 2


def face_areas(mesh: DynamicMesh) -> Floats:
    """Return (F,) square metres."""
    return np.asarray(np.linalg.norm(area_vectors(mesh), axis=1))


def face_normals(mesh: DynamicMesh) -> Floats:
    """Return (F, 3) of length 1; zeros for a triangle without area."""
    return unit(area_vectors(mesh))


def surface_area(mesh: DynamicMesh) -> float:
    """Return square metres."""
    return float(face_areas(mesh).sum())


def volume(mesh: DynamicMesh) -> float:
    """Return cubic metres: the signed volume under the divergence theorem, negative for one that is inside out.

    Of a mesh that is not watertight it is that between the triangles and the middle of the mesh's vertices.
    """
    if not mesh.num_triangles:
        return 0.0
    a, b, c = np.moveaxis(mesh.positions[mesh.triangles] - mesh.positions.mean(0), 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def bounds(mesh: DynamicMesh) -> Floats:
    """Return (2, 3): the lowest and highest coordinates.

    Raises:
        GeometryError: the mesh has no vertex.
    """
    if not mesh.num_vertices:
        raise GeometryError("a mesh without vertices has no bounds")
    return np.stack([mesh.positions.min(0), mesh.positions.max(0)])


def directed_edges(mesh: DynamicMesh) -> Integers:
    """Return (3 F, 2): first those from each triangle's first corner, then second, then third."""
    triangles = mesh.triangles
    return np.vstack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def open_edges(mesh: DynamicMesh) -> Integers:
    """Return (n, 2) edges, as their triangles have them, that no other triangle runs along the other way.

    A closed surface has none. An edge of three triangles, or of two that face different sides, leaves one too.
    """
    edges = directed_edges(mesh)
    size = np.int64(max(mesh.num_vertices, 1))
    forth, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    keys, inverse = np.unique(np.concatenate([forth, back]), return_inverse=True)
    numbers, opposite = inverse.reshape(2, -1)
    runs = np.bincount(numbers, minlength=len(keys))
    return edges[runs[numbers] != runs[opposite]]


def is_watertight(mesh: DynamicMesh) -> bool:
    """Return whether the mesh encloses a volume: it has triangles and no open edge."""
    return mesh.num_triangles > 0 and len(open_edges(mesh)) == 0


def require_watertight(mesh: DynamicMesh, what: str = "the mesh") -> None:
    """Refuse a mesh that is not closed where it must be.

    Raises:
        GeometryError: it has open edges, which are counted, or no triangle.
    """
    count = len(open_edges(mesh))
    if count or not mesh.num_triangles:
        has = f"{count} open edges of {3 * mesh.num_triangles}" if count else "no triangles"
        raise GeometryError(f"{what} must be watertight and has {has}; weld it, or fill its holes")
