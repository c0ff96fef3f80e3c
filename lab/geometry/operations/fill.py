"""Filling holes: a cap on every border."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.measures import open_edges
from lab.geometry.mesh import DynamicMesh, Floats, Integers, Overlay
from lab.geometry.operations.polygons import triangulate
from lab.geometry.overlays import joined_overlays, overlay_from_corners, unset_overlay
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import chain_loops, unit


def fill_holes(mesh: DynamicMesh) -> DynamicMesh:
    """Return the mesh with every loop of open edges filled by triangles between its vertices.

    What was there stays. Each cap is a new polygroup, of the slot of a triangle at its border, with its plane's normal
    and UVs in metres in the plane (layer 0, others unset); holes in a cap are not looked for: each border is filled
    alone.

    Raises:
        GeometryError: borders touch, or one crosses itself seen along its own normal.
    """
    loops = chain_loops(open_edges(mesh))
    group = int(mesh.polygroups.max(initial=-1)) + 1
    owner = np.zeros(mesh.num_vertices, dtype=np.int64)
    owner[mesh.triangles] = mesh.slots[:, None]
    for number, loop in enumerate(loops):
        mesh = _capped(mesh, loop[::-1], group + number, int(owner[loop[0]]), number)
    return mesh


def area_vector(ring: Floats) -> Floats:
    """Return (3,) the normal of a loop (N, 3) in space, of the length of its area."""
    local = ring - ring.mean(axis=0)
    return np.asarray(np.cross(local, np.roll(local, -1, axis=0)).sum(axis=0) / 2)


def flattened(ring: Floats, normal: Floats) -> Floats:
    """Return (N, 2) a loop (N, 3) in the plane of a normal, counter-clockwise where the normal is its area vector."""
    axis = np.eye(3)[np.abs(normal).argmin()]
    x = unit(np.cross(axis, normal))
    y = unit(np.cross(normal, x))
    local = ring - ring.mean(axis=0)
    return np.stack([local @ x, local @ y], axis=1)


def _capped(mesh: DynamicMesh, loop: Integers, group: int, slot: int, number: int) -> DynamicMesh:
    ring = mesh.positions[loop]
    normal = area_vector(ring)
    if not normal.any():
        raise GeometryError(f"border {number} of {len(loop)} edges encloses no area and cannot be filled")
    flat = flattened(ring, normal)
    try:
        cap = triangulate(flat, [np.arange(len(loop))])
    except GeometryError as error:
        raise GeometryError(f"border {number} of {len(loop)} edges cannot be filled: it {error.reason}") from error
    return with_cap(mesh, loop[cap], flat[cap], unit(normal), slot, group)


def with_cap(
    mesh: DynamicMesh, triangles: Integers, uv: Floats, normal: Floats, slot: int, group: int | None = None
) -> DynamicMesh:
    """Return the mesh with flat triangles (T, 3) among its vertices, as one polygroup.

    Args:
        mesh: any.
        triangles: (T, 3).
        uv: (T, 3, 2) of layer 0; others are unset.
        normal: (3,) of length 1, if the mesh has normals.
        slot: of all.
        group: of all; None for a new one.
    """
    count = len(triangles)
    if group is None:
        group = int(mesh.polygroups.max(initial=-1)) + 1
    normals = mesh.normals
    if normals is not None:
        normals = joined_overlays(normals, Overlay(normal[None], np.zeros((count, 3), dtype=np.int64)))
    layers = [
        joined_overlays(layer, overlay_from_corners(uv, triangles) if i == 0 else unset_overlay(count, 2))
        for i, layer in enumerate(mesh.uvs)
    ]
    return replace(
        mesh,
        triangles=np.concatenate([mesh.triangles, triangles]),
        polygroups=np.concatenate([mesh.polygroups, np.full(count, group)]),
        slots=np.concatenate([mesh.slots, np.full(count, slot)]),
        normals=normals,
        uvs=tuple(layers),
    )


@dataclass(frozen=True, kw_only=True)
class FillHoles(Tool):
    """Fills every loop of open edges by triangles between its vertices."""

    word: ClassVar[str] = "fill_holes"

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with its holes filled."""
        return fill_holes(mesh)
