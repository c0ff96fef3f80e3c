"""A volume of flat convex faces, as level editors block out rooms with: from a mesh, and back.

The way of UE5's DynamicMeshToVolume: the mesh is brought to as few triangles as its flat parts need, neighbours in one
plane are joined to convex polygons (Hertel and Mehlhorn, "Fast Triangulation of Simple Polygons", FCT 1983: drop each
edge whose ends stay convex, which leaves at most 2 r + 1 polygons of a face with r reflex corners), and the options
bRespectGroupBoundaries, bAutoSimplify and MaxTriangles keep their meaning.

Lost on the way: normals, UVs, and how flat parts were triangulated. The shape is not: faces move by ``flatness`` at
most. With ``auto_simplify`` it is lost as far as the budget of triangles asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from lab.errors import GeometryError
from lab.geometry.components import connected_parts
from lab.geometry.measures import face_normals, require_watertight
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers, Material, frozen
from lab.geometry.operations.simplify import simplify, simplify_planar
from lab.geometry.parameters import Parameters
from lab.geometry.topology import Edges, find_edges
from lab.ranges import Ge, Gt

_STRAIGHT = 1e-9  # of a turn, relative to the edges: rounding is no concave corner


@dataclass(frozen=True)
class Volume:
    """A closed surface of flat convex polygons; N vertices, P polygons.

    Attributes:
        positions: (N, 3) float64 metres.
        polygons: of each its (n,) vertices, counter-clockwise seen from outside.
        polygroups: (P,) int64.
        slots: (P,) int64 indices into ``materials``.
        materials: see ``Material``.
    """

    positions: Floats
    polygons: tuple[Integers, ...]
    polygroups: Integers
    slots: Integers
    materials: tuple[Material, ...] = (Material(),)

    @property
    def num_triangles(self) -> int:
        """How many triangles the polygons are."""
        return sum(len(polygon) - 2 for polygon in self.polygons)


@dataclass(frozen=True, kw_only=True)
class VolumeOptions(Parameters):
    """How a mesh becomes a volume.

    Attributes:
        respect_group_boundaries: whether polygons end where a polygroup or a material does.
        auto_simplify: whether a mesh of too many triangles loses shape; otherwise it is refused.
        max_triangles: the most triangles that the flat parts may need.
        flatness: metres that a vertex may lie beside the plane of its polygon.
    """

    respect_group_boundaries: bool = True
    auto_simplify: bool = False
    max_triangles: Annotated[int, Ge(4)] = 250
    flatness: Annotated[float, Gt(0)] = 1e-6


PLAIN = VolumeOptions()


def to_volume(mesh: DynamicMesh, options: VolumeOptions = PLAIN) -> Volume:
    """Return the volume that a watertight mesh encloses.

    Raises:
        GeometryError: the mesh is not watertight, or needs more triangles than allowed.
    """
    require_watertight(mesh, "the mesh of a volume")
    keep = "all" if options.respect_group_boundaries else "borders"
    flat = simplify_planar(mesh, options.flatness, keep)
    if flat.num_triangles > options.max_triangles:
        if not options.auto_simplify:
            raise GeometryError(
                f"the volume needs {flat.num_triangles} triangles and {options.max_triangles} are allowed: raise "
                "max_triangles, or set auto_simplify and lose shape",
                "max_triangles",
            )
        flat = simplify(flat, options.max_triangles, keep)
    edges = find_edges(flat.triangles)
    polygons, first = _joined(flat, edges, _joinable(flat, edges, options))
    used, numbers = np.unique(np.concatenate(polygons), return_inverse=True)
    ends = np.cumsum([len(polygon) for polygon in polygons])[:-1]
    parts = tuple(frozen(part, np.int64) for part in np.split(numbers.reshape(-1), ends))
    groups, slots = frozen(flat.polygroups[first], np.int64), frozen(flat.slots[first], np.int64)
    return Volume(frozen(flat.positions[used], np.float64), parts, groups, slots, flat.materials)


def from_volume(volume: Volume) -> DynamicMesh:
    """Return the triangles of a volume, flat shaded: a fan of each polygon from its first vertex."""
    fans = [np.stack([np.full(len(part) - 2, part[0]), part[1:-1], part[2:]], axis=1) for part in volume.polygons]
    counts = [len(fan) for fan in fans]
    triangles = np.concatenate([np.zeros((0, 3), dtype=np.int64), *fans])
    groups, slots = np.repeat(volume.polygroups, counts), np.repeat(volume.slots, counts)
    return DynamicMesh(volume.positions, triangles, groups, slots, volume.materials)


def _joinable(mesh: DynamicMesh, edges: Edges, options: VolumeOptions) -> Flags:
    """Return (E,) whether the two triangles at an edge lie in one plane, and may be joined."""
    able = edges.inner.copy()
    first, second = edges.pairs.T
    normals = face_normals(mesh)
    same = (normals[first] * normals[second]).sum(axis=1) > 0
    for one, other in ((first, second), (second, first)):
        corners = mesh.positions[mesh.triangles[other]]
        gaps = ((corners - mesh.positions[mesh.triangles[one, 0]][:, None]) * normals[one][:, None]).sum(axis=2)
        same &= np.abs(gaps).max(axis=1) <= options.flatness
    if options.respect_group_boundaries:
        same &= mesh.polygroups[first] == mesh.polygroups[second]
    same &= mesh.slots[first] == mesh.slots[second]  # a polygon has one material
    able[able] = same
    return able


def _joined(mesh: DynamicMesh, edges: Edges, able: Flags) -> tuple[list[Integers], Integers]:
    """Return convex polygons, and the first triangle of each: long edges go first, which leaves fewer polygons."""
    ends = edges.vertices[able]
    pairs = edges.pairs[able[edges.inner]]
    planes = _plane_normals(mesh, connected_parts(mesh, pairs))
    length = np.linalg.norm(mesh.positions[ends[:, 0]] - mesh.positions[ends[:, 1]], axis=1)
    polygons = {number: list(corners) for number, corners in enumerate(mesh.triangles.tolist())}
    owner = {number: number for number in polygons}
    for edge in np.lexsort((ends[:, 1], ends[:, 0], -length)).tolist():
        low, high = ends[edge].tolist()
        one, other = (_root(owner, number) for number in pairs[edge].tolist())
        joined = _join(polygons[one], polygons[other], low, high) if one != other else None
        if joined is not None and _is_convex(mesh.positions[joined], planes[one]):
            keep, gone = min(one, other), max(one, other)
            polygons[keep] = joined
            del polygons[gone]
            owner[gone] = keep
    first = np.array(sorted(polygons), dtype=np.int64)
    return [np.array(polygons[number], dtype=np.int64) for number in first.tolist()], first


def _plane_normals(mesh: DynamicMesh, region: Integers) -> Floats:
    """Return (F, 3) the normal of each triangle's flat part, weighted by area."""
    a, b, c = np.moveaxis(mesh.positions[mesh.triangles], 1, 0)
    vectors = np.cross(b - a, c - a)
    total = np.stack([np.bincount(region, vectors[:, axis]) for axis in range(3)], axis=1)
    normals: Floats = (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300))[region]
    return normals


def _root(owner: dict[int, int], number: int) -> int:
    while owner[number] != number:
        number = owner[number]
    return number


def _join(one: list[int], other: list[int], low: int, high: int) -> list[int] | None:
    """Return two polygons as one without their edge (low to high in the first); None if they touch elsewhere too."""
    start, back = one.index(high), other.index(low)
    joined = one[start:] + one[:start] + (other[back:] + other[:back])[1:-1]
    return joined if len(set(joined)) == len(joined) else None


def _is_convex(points: Floats, normal: Floats) -> bool:
    """Whether a polygon (n, 3) only turns to the left, seen against its normal; straight corners are allowed."""
    along = np.roll(points, -1, axis=0) - points
    before = np.roll(along, 1, axis=0)
    turns = np.cross(before, along) @ normal
    size = np.linalg.norm(before, axis=1) * np.linalg.norm(along, axis=1)
    return bool((turns >= -_STRAIGHT * size).all())
