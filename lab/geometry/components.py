"""Which triangles hang together."""

from __future__ import annotations

import numpy as np

from lab.geometry.measures import directed_edges, face_normals
from lab.geometry.mesh import DynamicMesh, Flags, Integers


def edge_neighbours(mesh: DynamicMesh) -> Integers:
    """Return (n, 2) pairs of triangles that share an edge; an edge of several triangles chains them."""
    edges = np.sort(directed_edges(mesh), axis=1)
    triangles = np.tile(np.arange(mesh.num_triangles), 3)
    order = np.lexsort((triangles, edges[:, 1], edges[:, 0]))
    same = (edges[order[1:]] == edges[order[:-1]]).all(1)
    return np.stack([triangles[order[:-1]][same], triangles[order[1:]][same]], 1)


def connected_parts(mesh: DynamicMesh, pairs: Integers | None = None) -> Integers:
    """Return (F,) the part of each triangle, from 0 in the order of their first triangles.

    Args:
        mesh: any.
        pairs: (n, 2) triangles that hang together; those that share an edge if not given.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = edge_neighbours(mesh) if pairs is None else pairs
    size = mesh.num_triangles
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def smooth_pairs(mesh: DynamicMesh, degrees: float, among: Flags | None = None) -> Integers:
    """Return (n, 2) pairs of neighbours whose normals differ by an angle at most.

    Args:
        mesh: any.
        degrees: the largest angle.
        among: (F,) bool: only pairs of two such triangles.
    """
    pairs = edge_neighbours(mesh)
    normals = face_normals(mesh)
    flat = np.einsum("ij,ij->i", normals[pairs[:, 0]], normals[pairs[:, 1]]) >= np.cos(np.radians(degrees)) - 1e-12
    return pairs[flat] if among is None else pairs[flat & among[pairs].all(1)]
