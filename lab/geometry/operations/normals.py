"""Corner normals computed from the triangles: how faces weigh, and where an edge stays sharp."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Flags, Integers, Overlay
from lab.geometry.operations.channels import split_channels
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import Edges, face_vectors, filled_normals, find_edges, gathered_normals, unit
from lab.ranges import Ge, Le

WEIGHTS = ("angle", "area", "both", "face")
SPLITS = ("none", "angle", "groups", "both", "all")


def recompute_normals(mesh: DynamicMesh, weight: str = "both", split: str = "both", angle: float = 40.0) -> DynamicMesh:
    """Return the mesh with normals computed anew; polygroups, slots and UVs stay as they are.

    Args:
        mesh: any; degenerate triangles weigh nothing.
        weight: how a triangle counts at its corner: by its ``angle`` there, its ``area``, ``both`` (the product), or
            ``face`` (all alike).
        split: where normals have a seam: ``none`` (all smooth), ``angle`` (edges sharper than ``angle``), ``groups``
            (edges between polygroups), ``both`` (edges between polygroups that are sharper than ``angle``, and edges
            within a polygroup that are sharper than twice ``angle``), or ``all`` (flat shading).
        angle: degrees between the normals of two triangles.

    Raises:
        GeometryError: a word that is none of these.
    """
    for value, known, name in ((weight, WEIGHTS, "weight"), (split, SPLITS, "split")):
        if value not in known:
            raise GeometryError(f"{value!r} is none of {', '.join(known)}", name)
    edges = find_edges(mesh.triangles)
    corners = _smooth_corners(mesh, edges, _smooth_edges(mesh, edges, split, angle))
    values = gathered_normals(mesh.positions, mesh.triangles, corners, weight)
    values = filled_normals(values, corners, mesh.positions, mesh.triangles)
    return replace(mesh, normals=Overlay(values, corners))


def refresh_normals(mesh: DynamicMesh, weight: str = "both") -> DynamicMesh:
    """Return the mesh with the values of its normals computed anew and its seams kept; without normals it stays."""
    if mesh.normals is None:
        return mesh
    corners = split_channels(mesh)[1].corners
    values = gathered_normals(mesh.positions, mesh.triangles, corners, weight)
    values = filled_normals(values, corners, mesh.positions, mesh.triangles)
    return replace(mesh, normals=Overlay(values, corners))


def _smooth_edges(mesh: DynamicMesh, edges: Edges, split: str, angle: float) -> Flags:
    smooth = edges.inner.copy()
    if split == "none":
        return smooth
    if split == "all":
        return np.zeros_like(smooth)
    normals = unit(face_vectors(mesh.positions, mesh.triangles))
    left, right = edges.pairs.T
    cosine = (normals[left] * normals[right]).sum(axis=1)
    limit = np.cos(np.radians(min(angle, 180.0))) - 1e-9
    same = mesh.polygroups[left] == mesh.polygroups[right]
    if split == "groups":
        keep = same
    elif split == "angle":
        keep = cosine >= limit
    else:
        keep = np.where(same, cosine >= np.cos(np.radians(min(2 * angle, 180.0))) - 1e-9, cosine >= limit)
    smooth[edges.inner] = keep
    return smooth


def _smooth_corners(mesh: DynamicMesh, edges: Edges, smooth: Flags) -> Integers:
    """Return (F, 3) elements: corners that smooth edges connect share one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, second = edges.halves[smooth].T
    tail_of, head_of = first, first - first % 3 + (first % 3 + 1) % 3
    other_tail, other_head = second, second - second % 3 + (second % 3 + 1) % 3
    rows = np.concatenate([tail_of, head_of])
    columns = np.concatenate([other_head, other_tail])
    size = mesh.triangles.size
    graph = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(size, size))
    return connected_components(graph, directed=False)[1].reshape(-1, 3).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Normals(Tool):
    """Computes normals anew, with seams at sharp edges or between polygroups.

    Attributes:
        weight: how a triangle counts at its corner.
        split: where normals have a seam.
        angle: degrees from which an edge is sharp.
    """

    word: ClassVar[str] = "normals"

    weight: Literal["angle", "area", "both", "face"] = "both"
    split: Literal["none", "angle", "groups", "both", "all"] = "both"
    angle: Annotated[float, Ge(0), Le(180)] = 40.0

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with new normals."""
        return recompute_normals(mesh, self.weight, self.split, self.angle)
