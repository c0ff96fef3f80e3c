"""Cutting by a plane: what lies on one side goes, and the cut is filled or left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.measures import face_normals, open_edges
from lab.geometry.mesh import UNSET, DynamicMesh, Flags, Floats, Integers, Overlay
from lab.geometry.operations.channels import join_channels, split_channels
from lab.geometry.operations.fill import flattened, with_cap
from lab.geometry.operations.libraries import load_manifold
from lab.geometry.parameters import Vector
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import chain_loops, make_direction

_ON_PLANE = 1e-10  # of the mesh's size: vertices nearer to the plane are on it


def cut(mesh: DynamicMesh, point: Sequence[float], normal: Sequence[float], fill: bool = True) -> DynamicMesh:
    """Return the part of the mesh behind a plane.

    Cut triangles keep polygroup and slot, with UVs and normals interpolated. The filling is one new polygroup, of the
    slot of a triangle at the cut, with the plane's normal and UVs in metres in the plane (layer 0, others unset).

    Args:
        mesh: any; borders that it has elsewhere stay open.
        point: (3,) of the plane, metres.
        normal: (3,) towards what goes, any length.
        fill: close the cut.

    Raises:
        GeometryError: a normal of no length, nothing is left, or a filled cut does not close.
    """
    origin, way = np.asarray(point, dtype=np.float64), make_direction(normal, "normal")
    heights = (mesh.positions - origin) @ way
    size = float(np.ptp(mesh.positions, axis=0).max(initial=0)) if mesh.num_vertices else 0.0
    heights[np.abs(heights) <= _ON_PLANE * size] = 0.0
    at_corners = heights[mesh.triangles]
    flat = (at_corners == 0).all(axis=1)
    kept = np.where(flat, face_normals(mesh) @ way > 0, (at_corners < 0).any(axis=1))
    if not kept.any():
        raise GeometryError("nothing is left: all of the mesh lies in front of the plane")
    result, heights = _behind(mesh, heights, kept)
    return _filled(result, heights, way) if fill else result


def _behind(mesh: DynamicMesh, heights: Floats, kept: Flags) -> tuple[DynamicMesh, Floats]:
    """Return the mesh behind the plane, and the heights of its vertices."""
    channels = split_channels(mesh)
    # A channel of heights is cut along with the others, and tells afterwards which vertices are on the plane.
    channels.append(Overlay(heights[:, None], mesh.triangles))
    at_corners = heights[mesh.triangles]
    inside = at_corners <= 0
    whole = np.flatnonzero(kept & inside.all(axis=1))
    one = np.flatnonzero(kept & (inside.sum(axis=1) == 1))
    two = np.flatnonzero(kept & (inside.sum(axis=1) == 2))
    first_in, out = inside[one].argmax(axis=1), (~inside[two]).argmax(axis=1)
    parts = []
    for channel in channels:
        corners, crossings, values = _with_crossings(channel, at_corners)
        tip = [
            _around(corners, one, first_in),
            _around(crossings, one, first_in),
            _around(crossings, one, first_in + 2),
        ]
        # With c outside, the edges from b to c and from c to a are crossed.
        a, b = _around(corners, two, out + 1), _around(corners, two, out + 2)
        bc, ca = _around(crossings, two, out + 2), _around(crossings, two, out)
        rows = [np.stack(three, axis=1) for three in (tip, (a, b, bc), (a, bc, ca))]
        parts.append(Overlay(values, np.concatenate([corners[whole], *rows])))
    source = np.concatenate([whole, one, two, two])
    triangles = parts[0].corners
    fine = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)  # crossed at a corner
    parts = [Overlay(part.elements, part.corners[fine]) for part in parts]
    used = np.unique(parts[0].corners)
    level = np.zeros(len(parts[0].elements))
    level[parts[0].corners] = parts[-1].elements[parts[-1].corners][..., 0]
    return join_channels(mesh, parts[:-1], source[fine]), level[used]


def _around(table: Integers, rows: Integers, column: Integers) -> Integers:
    return np.asarray(table[rows, column % 3])


def _with_crossings(channel: Overlay, heights: Floats) -> tuple[Integers, Integers, Floats]:
    """Return corners (F, 3), elements where edges cross the plane (F, 3), and values with those of the crossings."""
    tails, heads = channel.corners, np.roll(channel.corners, -1, axis=1)
    below, above = heights, np.roll(heights, -1, axis=1)
    crossed = (below * above < 0) & (tails >= 0) & (heads >= 0)
    nodes = np.where(below == 0, tails, np.where(above == 0, heads, UNSET))
    first, second = tails[crossed], heads[crossed]
    width = max(len(channel.elements), 1)
    keys = np.minimum(first, second) * width + np.maximum(first, second)
    _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    share = (below[crossed] / (below[crossed] - above[crossed]))[index][:, None]
    middle = (1 - share) * channel.elements[first[index]] + share * channel.elements[second[index]]
    nodes[crossed] = len(channel.elements) + inverse
    return channel.corners, nodes, np.concatenate([channel.elements, middle])


def _filled(mesh: DynamicMesh, heights: Floats, way: Floats) -> DynamicMesh:
    """Return the mesh with its borders on the plane closed."""
    border = open_edges(mesh)
    scale = np.abs(heights).max(initial=0)
    border = border[(np.abs(heights[border]) <= 1e-9 * scale).all(axis=1)]
    if not len(border):
        return mesh
    if not np.array_equal(np.sort(border[:, 0]), np.sort(border[:, 1])):
        raise GeometryError("the cut does not close, since the mesh is open there: set fill to false", "fill")
    loops = [loop[::-1] for loop in chain_loops(border, touching=True)]
    vertices = np.concatenate(loops)
    places = flattened(mesh.positions[vertices], way)
    ends = np.cumsum([len(loop) for loop in loops])
    rings = np.split(places, ends[:-1])
    cap = np.asarray(load_manifold().triangulate(rings, allow_convex=False), dtype=np.int64).reshape(-1, 3)
    return with_cap(mesh, vertices[cap], places[cap], way, mesh.slots[(mesh.triangles == border[0, 0]).any(axis=1)][0])


@dataclass(frozen=True, kw_only=True)
class Cut(Tool):
    """Takes away what lies before a plane.

    Attributes:
        point: of the plane, metres.
        normal: towards what goes.
        fill: close the cut.
    """

    word: ClassVar[str] = "cut"

    point: Vector = (0.0, 0.0, 0.0)
    normal: Vector = (0.0, 0.0, 1.0)
    fill: bool = True

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the part behind the plane."""
        return cut(mesh, self.point, self.normal, self.fill)
