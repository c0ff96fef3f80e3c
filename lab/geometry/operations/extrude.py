"""Extruding: a polygon into a solid, and faces of a mesh along a direction with walls at their border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.joining import with_triangles
from lab.geometry.mesh import UNSET, DynamicMesh, Flags, Floats, Integers, Material
from lab.geometry.operations.normals import recompute_normals
from lab.geometry.operations.offset import miter_vectors
from lab.geometry.operations.polygons import Points, make_polygon
from lab.geometry.operations.shaped import Distance, Loop, Shaped
from lab.geometry.operations.skin import PLAIN, skin
from lab.geometry.overlays import joined_overlays, overlay_from_corners, unset_overlay
from lab.geometry.parameters import Vector
from lab.geometry.primitives.primitive import Steps
from lab.geometry.selection import Selection
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import find_edges, make_direction


def extrude_polygon(
    outline: Points,
    holes: Sequence[Points] = (),
    height: float = 1.0,
    steps: int = 1,
    material: Material = PLAIN,
) -> DynamicMesh:
    """Return the solid over a polygon in the plane z = 0, up to ``height`` (down where negative).

    Polygroups, UVs and normals as ``skin`` makes them; one slot.

    Raises:
        GeometryError: no polygon, no height, or no steps.
    """
    polygon = make_polygon(outline, holes)
    if height == 0 or not np.isfinite(height):
        raise GeometryError(f"makes no solid: {height}", "height")
    if steps < 1:
        raise GeometryError(f"must be at least 1, not {steps}", "steps")
    levels = np.linspace(min(height, 0.0), max(height, 0.0), steps + 1)
    rings = np.empty((len(levels), len(polygon.points), 3))
    rings[:, :, :2] = polygon.points
    rings[:, :, 2] = levels[:, None]
    return skin(rings, polygon.loops, False, cap=polygon.triangles, cap_uv=polygon.points, material=material)


def extrude_faces(
    mesh: DynamicMesh,
    chosen: Flags | Integers,
    distance: float,
    direction: Sequence[float] | None = None,
) -> DynamicMesh:
    """Return the mesh with some triangles moved, and walls between where they were and where they are.

    Moved triangles keep polygroup, slot, normals and UVs. Walls get new polygroups, one for each pair of polygroups
    that meets at the border; the slot of the moved triangle beside them; UVs in metres (layer 0, others unset): along
    the border and along the wall; and normals of their own, if the mesh has normals. An open edge of chosen triangles
    becomes an open edge at the foot of its wall.

    Args:
        mesh: any.
        chosen: (F,) bool, or indices of triangles.
        distance: metres; negative pushes in.
        direction: where all go; None moves every triangle ``distance`` along its own normal (as ``offset`` does).

    Raises:
        GeometryError: nothing chosen, or a direction of no length.
    """
    mask = np.zeros(mesh.num_triangles, dtype=bool)
    mask[chosen] = True
    if not mask.any():
        raise GeometryError("no triangles are chosen")
    moved, inverse = np.unique(mesh.triangles[mask], return_inverse=True)
    patch = inverse.reshape(-1, 3)
    if direction is None:
        step = distance * miter_vectors(mesh.positions[moved], patch)
    else:
        step = np.broadcast_to(distance * make_direction(direction, "direction"), (len(moved), 3))
    positions = np.concatenate([mesh.positions, mesh.positions[moved] + step])
    upper = np.full(mesh.num_vertices, UNSET, dtype=np.int64)
    upper[moved] = mesh.num_vertices + np.arange(len(moved))
    triangles = mesh.triangles.copy()
    triangles[mask] = upper[mesh.triangles[mask]]
    body = replace(mesh, positions=positions, triangles=triangles)
    walls = border_walls(body, mesh.triangles, mask, upper)
    return with_walls(body, walls)


def with_walls(body: DynamicMesh, walls: DynamicMesh) -> DynamicMesh:
    """Return a mesh and walls on the same vertices as one, without vertices that no triangle uses."""
    whole = _one_on_the_same_vertices(body, walls)
    return with_triangles(whole, np.arange(whole.num_triangles))


def border_walls(body: DynamicMesh, before: Integers, chosen: Flags, upper: Integers, first: int = 0) -> DynamicMesh:
    """Return the walls, on the vertices of ``body``, between where the border of some triangles was and where it is.

    Args:
        body: with both places of the border among its vertices.
        before: (F, 3) the triangles before they moved.
        chosen: (F,) which moved.
        upper: (V,) where the vertices of moved triangles are now.
        first: the triangle of ``body`` whose polygroup and slot go with the first of ``before``; the others follow.
    """
    edges = find_edges(before)
    half = edges.halves[edges.of_triangle]  # (F, 3, 2)
    own = np.arange(before.size).reshape(-1, 3)
    other = np.where(half[..., 0] == own, half[..., 1], half[..., 0])
    neighbour = np.where(edges.inner[edges.of_triangle], other // 3, UNSET)
    at_border = chosen[:, None] & ((neighbour == UNSET) | ~chosen[neighbour])
    triangle, corner = np.nonzero(at_border)
    tail, head = before[triangle, corner], before[triangle, (corner + 1) % 3]
    groups, slots = (labels[first : first + len(before)] for labels in (body.polygroups, body.slots))
    beyond = np.where(neighbour[triangle, corner] == UNSET, UNSET, groups[neighbour[triangle, corner]])
    pair = np.stack([groups[triangle], beyond], axis=1)
    number = np.unique(pair, axis=0, return_inverse=True)[1].reshape(-1) if len(pair) else np.zeros(0, dtype=np.int64)
    group = int(body.polygroups.max()) + 1 + number
    quads = np.stack([tail, head, upper[head], upper[tail]], axis=1)
    start, length = _along_border(tail, head, body.positions)
    height = np.linalg.norm(body.positions[upper[tail]] - body.positions[tail], axis=1)
    far = np.linalg.norm(body.positions[upper[head]] - body.positions[head], axis=1)
    none = np.zeros_like(start)
    uv = np.stack(
        [
            np.stack(pair, axis=1)
            for pair in ((start, none), (start + length, none), (start + length, far), (start, height))
        ],
        axis=1,
    )
    split = [[0, 1, 2], [0, 2, 3]]
    triangles, corners = quads[:, split].reshape(-1, 3), uv[:, split].reshape(-1, 3, 2)
    layers = [overlay_from_corners(corners, triangles)] if body.uvs else []
    layers += [unset_overlay(len(triangles), 2) for _ in body.uvs[1:]]
    walls = replace(
        body,
        triangles=triangles,
        polygroups=np.repeat(group, 2),
        slots=np.repeat(slots[triangle], 2),
        normals=None,
        uvs=tuple(layers),
    )
    return walls if body.normals is None else recompute_normals(walls)


def _along_border(tail: Integers, head: Integers, positions: Floats) -> tuple[Floats, Floats]:
    """Return (B,) the way along the border to the tail of each half-edge, and the length of each."""
    length = np.linalg.norm(positions[head] - positions[tail], axis=1)
    leaving = {int(vertex): i for i, vertex in enumerate(tail)}
    start = np.full(len(tail), np.nan)
    for first in range(len(tail)):
        current, way = first, 0.0
        while current >= 0 and np.isnan(start[current]):
            start[current] = way
            way += length[current]
            current = leaving.get(int(head[current]), -1)
    return start, length


def _one_on_the_same_vertices(body: DynamicMesh, walls: DynamicMesh) -> DynamicMesh:
    normals = None
    if body.normals is not None and walls.normals is not None:
        normals = joined_overlays(body.normals, walls.normals)
    return replace(
        body,
        triangles=np.concatenate([body.triangles, walls.triangles]),
        polygroups=np.concatenate([body.polygroups, walls.polygroups]),
        slots=np.concatenate([body.slots, walls.slots]),
        normals=normals,
        uvs=tuple(map(joined_overlays, body.uvs, walls.uvs)),
    )


@dataclass(frozen=True, kw_only=True)
class Extrude(Tool):
    """Moves triangles, and puts walls between where they were and where they are.

    Attributes:
        select: which triangles.
        distance: metres; negative pushes in.
        direction: where to; null moves each face along its normal.
    """

    word: ClassVar[str] = "extrude"

    select: Selection = field(default_factory=Selection)
    distance: Distance = 1.0
    direction: Vector | None = None

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with the faces moved."""
        context.budget.afford(3 * mesh.num_triangles)
        return extrude_faces(mesh, self.select.within_step(mesh, "select"), self.distance, self.direction)


@dataclass(frozen=True, kw_only=True)
class ExtrudePolygon(Shaped):
    """Adds the solid over a polygon with holes.

    Attributes:
        outline: points x, y in metres.
        holes: loops of points inside it.
        height: metres; negative goes down.
        steps: rows of quads along it.
    """

    word: ClassVar[str] = "extrude_polygon"

    outline: Loop
    holes: tuple[Loop, ...] = ()
    height: Distance = 1.0
    steps: Steps = 1

    def shape(self, context: Context) -> DynamicMesh:
        """Return the solid."""
        context.budget.afford(2 * (self.steps + 1) * (len(self.outline) + sum(map(len, self.holes))))
        return extrude_polygon(self.outline, self.holes, self.height, self.steps, self.material.material())
