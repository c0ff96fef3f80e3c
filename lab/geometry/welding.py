"""Vertices at one place made one, and the triangles that this flattens taken away."""

from __future__ import annotations

import dataclasses

import numpy as np

from lab.geometry.joining import with_triangles
from lab.geometry.mesh import DynamicMesh, Floats, Integers


def merged_places(positions: Floats, distance: float) -> tuple[Floats, Integers]:
    """Return the places of points, those within a distance of each other once, and the place of each point.

    Args:
        positions: (V, 3).
        distance: metres; chains of points closer than this become one place, that of the first of them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(positions).query_pairs(distance, output_type="ndarray")
    if not len(pairs):
        return positions, np.arange(len(positions))
    size = len(positions)
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return positions[first[order]], rank[inverse.reshape(-1)]


def welded(mesh: DynamicMesh, distance: float = 1e-6) -> DynamicMesh:
    """Return a mesh whose vertices within a distance are one; triangles that lose a corner go; seams stay.

    Args:
        mesh: any.
        distance: metres.
    """
    if not mesh.num_vertices:
        return mesh
    places, label = merged_places(mesh.positions, distance)
    triangles = label[mesh.triangles]
    first, second, third = triangles.T
    whole = (first != second) & (second != third) & (third != first)
    return with_triangles(dataclasses.replace(mesh, positions=places, triangles=triangles), whole)
