"""A mesh as channels: its positions and its overlays in one form, so that an operation treats them all alike.

A channel is an ``Overlay``: values, and which of them each triangle corner takes. Positions are the first channel
(their corners are the mesh's triangles), normals and UV layers follow. What splits, merges or turns triangles changes
the corners of all channels in the same way, and no attribute is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lab.geometry.mesh import UNSET, DynamicMesh, Flags, Integers, Overlay
from lab.geometry.topology import filled_normals


def split_channels(mesh: DynamicMesh) -> list[Overlay]:
    """Return the channels of a mesh; no element is shared by two vertices any more."""
    overlays = [mesh.uvs[i] for i in range(len(mesh.uvs))]
    if mesh.normals is not None:
        overlays.insert(0, mesh.normals)
    return [Overlay(mesh.positions, mesh.triangles), *(_of_one_vertex(one, mesh.triangles) for one in overlays)]


def join_channels(like: DynamicMesh, channels: Sequence[Overlay], source: Integers) -> DynamicMesh:
    """Return the mesh of channels, without values that no corner takes.

    Args:
        like: the mesh whose materials and kinds of channels these are.
        channels: as ``split_channels`` gives them, changed; normals are made of length 1 again.
        source: (F,) the triangle of ``like`` whose polygroup and slot each triangle takes.
    """
    places, *overlays = map(_compact, channels)
    normals = None
    if like.normals is not None:
        mixed = overlays[0]
        normals = replace(
            mixed, elements=filled_normals(mixed.elements, mixed.corners, places.elements, places.corners)
        )
        overlays = overlays[1:]
    return DynamicMesh(
        places.elements,
        places.corners,
        like.polygroups[source],
        like.slots[source],
        like.materials,
        normals,
        tuple(overlays),
    )


def find_seams(edge_halves: Integers, overlay: Overlay, at_one_end: bool = False) -> Flags:
    """Return (E,) whether the two triangles at an edge take other elements at both its ends; open edges are no seams.

    Args:
        edge_halves: (E, 2) as ``Edges.halves``.
        overlay: of a mesh whose elements belong to one vertex each.
        at_one_end: also count edges with other elements at one end only, as at a pole.
    """
    corners = overlay.corners
    inner = (edge_halves >= 0).all(axis=1)
    triangle, k = np.divmod(edge_halves, 3)
    tail, head = corners[triangle, k], corners[triangle, (k + 1) % 3]
    first, second = tail[:, 0] != head[:, 1], head[:, 0] != tail[:, 1]
    return np.asarray(inner & ((first | second) if at_one_end else (first & second)))


def _of_one_vertex(overlay: Overlay, triangles: Integers) -> Overlay:
    """Return an overlay of the same values in which no element stands at two vertices."""
    is_set = overlay.corners >= 0
    width = max(len(overlay.elements), 1)
    keys, inverse = np.unique(triangles[is_set] * width + overlay.corners[is_set], return_inverse=True)
    corners = np.full(triangles.shape, UNSET, dtype=np.int64)
    corners[is_set] = inverse
    return Overlay(overlay.elements[keys % width], corners)


def _compact(overlay: Overlay) -> Overlay:
    """Return the overlay without elements that no corner takes, in their order."""
    is_set = overlay.corners >= 0
    used, inverse = np.unique(overlay.corners[is_set], return_inverse=True)
    corners = np.full(overlay.corners.shape, UNSET, dtype=np.int64)
    corners[is_set] = inverse
    return Overlay(overlay.elements[used], corners)
