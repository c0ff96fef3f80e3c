"""What readers of files give: corners of triangles, made into one editable mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Integers, Material
from lab.geometry.overlays import overlay_from_corners
from lab.geometry.validation import validate


@dataclass(frozen=True)
class LoadedMesh:
    """A mesh from a file.

    Attributes:
        mesh: see there.
        notes: what the file has and the mesh has not, a line each.
    """

    mesh: DynamicMesh
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TriangleSoup:
    """Triangles by their corners.

    Attributes:
        points: (F, 3, 3) metres.
        normals: (F, 3, 3), NaN where there is none; or None.
        uvs: (F, 3, 2) with v up, NaN where there is none; or None.
        slots: (F,) indices into ``materials``.
        groups: (F,) polygroups.
        materials: see ``Material``; names differ.
    """

    points: Floats
    normals: Floats | None
    uvs: Floats | None
    slots: Integers
    groups: Integers
    materials: tuple[Material, ...]


def joined_parts(parts: TriangleSoup) -> DynamicMesh:
    """Return the mesh of triangles; corners at exactly one place are one vertex, numbered by their first triangle.

    Raises:
        GeometryError: a number is not finite.
    """
    rows = parts.points.reshape(-1, 3)
    if not np.isfinite(rows).all():
        index = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise GeometryError(f"a corner of triangle {index // 3} is at {rows[index].tolist()}: not finite")
    places, first, inverse = np.unique(rows + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    triangles = rank[inverse.reshape(-1)].reshape(-1, 3)
    normals = parts.normals
    if normals is not None:
        if np.isinf(normals).any() or (np.abs(normals) > 1e100).any():
            raise GeometryError("a normal is not finite")
        lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
        normals = np.divide(normals, lengths, out=np.full_like(normals, np.nan), where=lengths > 1e-12)
        normals = None if np.isnan(normals).all() else normals
    mesh = DynamicMesh(
        places[order],
        triangles,
        parts.groups,
        parts.slots,
        parts.materials,
        None if normals is None else overlay_from_corners(normals, triangles),
        () if parts.uvs is None or np.isnan(parts.uvs).all() else (overlay_from_corners(parts.uvs, triangles),),
    )
    validate(mesh)
    return mesh


def unique_names(materials: Sequence[Material]) -> tuple[Material, ...]:
    """Return materials whose names differ: the second ``steel`` becomes ``steel 2``."""
    names: set[str] = set()
    found = []
    for material in materials:
        name, number = material.name or "material", 2
        while name in names:
            name, number = f"{material.name or 'material'} {number}", number + 1
        names.add(name)
        found.append(Material(name, material.color, material.roughness, material.texture))
    return tuple(found)
