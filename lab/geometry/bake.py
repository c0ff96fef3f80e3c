"""From the editable mesh to the frozen one: vertices are split at seams, normals and tangents are baked.

Nothing is lost but precision (float64 to float32), polygroups and UV layers after the first. Textures are read with v
up: (0, 0) is the lower left corner of the picture, as OBJ has it (glTF files have v down).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.geometry.mesh import UNSET, DynamicMesh, Floats, Integers
from lab.geometry.static_mesh import StaticMesh


def bake(mesh: DynamicMesh) -> StaticMesh:
    """Return the static mesh of an editable one.

    Corners of triangles become one vertex where they share position, normal, UV and the handedness of UV. Corners
    without a normal take that of their triangle (flat shading), corners without UV (0, 0). Triangles keep their order.

    Tangents follow MikkTSpace (Mikkelsen, "Simulation of Wrinkled Surfaces Revisited", 2008): those of the triangles
    around a vertex, each made perpendicular to the vertex's normal, weighted by the angle at their corner. Where UV say
    nothing, the tangent is any direction that is perpendicular to the normal.
    """
    corners = mesh.triangles.reshape(-1)  # (3F,)
    points = mesh.positions[mesh.triangles]  # (F, 3, 3)
    flat = face_normals(points)
    normals, normal_ids = _corner_normals(mesh, flat)
    uvs, uv_ids = _corner_uvs(mesh)
    directions, signs = _face_tangents(points, uvs[uv_ids].reshape(-1, 3, 2))
    # In two steps: the product of all three counts may be too large for 64 bits.
    _, smooth = np.unique(corners * len(normals) + normal_ids, return_inverse=True)
    key = (smooth * len(uvs) + uv_ids) * 2 + np.repeat(signs > 0, 3)
    _, first, vertices = np.unique(key, return_index=True, return_inverse=True)
    chosen = normals[normal_ids[first]]
    tangents = _vertex_tangents(points, directions, chosen[vertices], vertices, len(first))
    return StaticMesh(
        positions=_frozen(mesh.positions[corners[first]]),
        normals=_frozen(chosen),
        tangents=_frozen(np.column_stack([perpendicular(tangents, chosen), signs[first // 3]])),
        uvs=_frozen(uvs[uv_ids[first]]),
        triangles=_frozen(vertices.reshape(-1, 3), np.int32),
        slots=_frozen(mesh.slots, np.int32),
        materials=mesh.materials,
    )


def face_normals(points: Floats) -> Floats:
    """Return the normals of triangles.

    Args:
        points: (F, 3, 3) corners.

    Returns:
        (F, 3) of length 1; z for triangles without area.
    """
    return unit(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]))


def unit(vectors: Floats) -> Floats:
    """Return (N, 3) vectors scaled to length 1; z where they have none."""
    # In two steps: the square of a small triangle's length may be too small for a number.
    largest = np.abs(vectors).max(1, initial=0.0, keepdims=True)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    scaled[largest[:, 0] <= 0] = (0.0, 0.0, 1.0)
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def perpendicular(vectors: Floats, normals: Floats) -> Floats:
    """Return (N, 3) vectors made perpendicular to normals and of length 1, any such direction where nothing is left."""
    left = vectors - (vectors * normals).sum(1, keepdims=True) * normals
    none = np.linalg.norm(left, axis=1) < 1e-9
    axis = np.zeros((int(none.sum()), 3))
    axis[np.arange(len(axis)), np.abs(normals[none]).argmin(1)] = 1.0
    left[none] = np.cross(normals[none], axis)
    return unit(left)


def _corner_normals(mesh: DynamicMesh, flat: Floats) -> tuple[Floats, Integers]:
    """Return distinct normals (n, 3) and the one of each corner (3F,)."""
    wanted = np.repeat(flat, 3, axis=0)
    if mesh.normals is not None:
        given = mesh.normals.corners.reshape(-1)
        smooth = given != UNSET
        wanted[smooth] = unit(mesh.normals.elements)[given[smooth]]
    # Normals that differ by rounding only are no seam.
    rounded = np.round(wanted * 1e6).astype(np.int64) + 1_000_000
    key = (rounded[:, 0] * 2_000_001 + rounded[:, 1]) * 2_000_001 + rounded[:, 2]
    _, first, ids = np.unique(key, return_index=True, return_inverse=True)
    return wanted[first], ids


def _corner_uvs(mesh: DynamicMesh) -> tuple[Floats, Integers]:
    """Return distinct UV (n, 2), and the one of each corner (3F,)."""
    if not mesh.uvs:
        return np.zeros((1, 2)), np.zeros(3 * mesh.num_triangles, np.int64)
    layer = mesh.uvs[0]
    elements = np.concatenate([layer.elements, np.zeros((1, 2))], dtype=np.float64)
    corners = layer.corners.reshape(-1)
    distinct, ids = np.unique(elements.view(np.complex128), return_inverse=True)  # faster than by rows
    wanted = np.where(corners == UNSET, len(layer.elements), corners)
    return distinct.view(np.float64).reshape(-1, 2), ids.reshape(-1)[wanted]


def _face_tangents(points: Floats, uvs: Floats) -> tuple[Floats, Floats]:
    """Return where u grows on each triangle (F, 3), zeros where UV say nothing, and the handedness of UV (F,) ±1."""
    edges, steps = points[:, 1:] - points[:, :1], uvs[:, 1:] - uvs[:, :1]
    area = steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 0, 1] * steps[:, 1, 0]
    sign = np.where(area < 0, -1.0, 1.0)
    along = edges[:, 0] * steps[:, 1, 1, None] - edges[:, 1] * steps[:, 0, 1, None]
    length = np.linalg.norm(along, axis=1)
    known = (area != 0) & (length > 0)
    return np.where(known[:, None], along * (sign / np.where(known, length, 1.0))[:, None], 0.0), sign


def _vertex_tangents(points: Floats, directions: Floats, normals: Floats, vertices: Integers, count: int) -> Floats:
    """Return the sums of the corners' tangents (count, 3), weighted by angle."""
    before, after = np.roll(points, 1, axis=1) - points, np.roll(points, -1, axis=1) - points
    angles = np.arctan2(np.linalg.norm(np.cross(before, after), axis=2), (before * after).sum(2)).reshape(-1)
    along = np.repeat(directions, 3, axis=0)
    along = along - (along * normals).sum(1, keepdims=True) * normals
    length = np.linalg.norm(along, axis=1)
    along *= np.divide(angles, length, out=np.zeros_like(length), where=length > 1e-9)[:, None]
    return np.stack([np.bincount(vertices, along[:, axis], minlength=count) for axis in range(3)], axis=1)


def _frozen(values: NDArray, dtype: type = np.float32) -> NDArray:
    array: NDArray = np.ascontiguousarray(values, dtype=dtype)
    if array is values or array.base is not None:
        array = array.copy()
    array.flags.writeable = False
    return array
