"""From the frozen mesh back to the editable one, the inverse of ``lab.geometry.bake``.

What baking has lost stays lost: digits beyond float32, polygroups (they are made anew), UV layers after the first, and
corners without a normal, which have that of their triangle now. Tangents, levels of detail and collision are not taken
over: they are made when the mesh is accepted again. A mesh that was thawed bakes to the same triangles, values and all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.geometry.components import connected_parts, edge_neighbours
from lab.geometry.mesh import DynamicMesh, Floats, Integers, Overlay
from lab.geometry.static_mesh import StaticMesh


def thaw(static: StaticMesh) -> DynamicMesh:
    """Return the editable mesh of a static one.

    Vertices at one place become one, so that a closed mesh is watertight again (parts that only touch hang together
    then). A polygroup is what no seam of normals, UV or materials divides. Without UV (all zero) there is no UV layer.
    """
    _, first, place = _distinct(static.positions)
    triangles = static.triangles.astype(np.int64)
    return DynamicMesh(
        static.positions[first].astype(np.float64),
        place[triangles],
        _regions(static),
        static.slots.astype(np.int64),
        static.materials,
        _overlay(static.normals, triangles) if len(triangles) else None,
        (_overlay(static.uvs, triangles),) if static.uvs.any() else (),
    )


def _distinct(values: NDArray[np.float32]) -> tuple[Floats, Integers, Integers]:
    """Return distinct rows in the order in which they appear, where each appears first, and the one of each row."""
    _, first, inverse = np.unique(values + np.float32(0), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return values[first[order]].astype(np.float64), first[order], rank[inverse.reshape(-1)]


def _overlay(values: NDArray[np.float32], triangles: Integers) -> Overlay:
    elements, _, own = _distinct(values)
    return Overlay(elements, own[triangles])


def _regions(static: StaticMesh) -> Integers:
    """Return (F,) regions of triangles that share the edges of the split vertices, and the slot."""
    triangles, slots = static.triangles.astype(np.int64), static.slots.astype(np.int64)
    if not len(triangles):
        return np.zeros(0, dtype=np.int64)
    split = DynamicMesh(static.positions.astype(np.float64), triangles, slots, slots, static.materials)
    pairs = edge_neighbours(split)
    return connected_parts(split, pairs[slots[pairs[:, 0]] == slots[pairs[:, 1]]])
