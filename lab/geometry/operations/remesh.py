"""Remeshing to triangles with edges of about one length.

Botsch and Kobbelt, "A Remeshing Approach to Multiresolution Modeling" (2004), section 4: cut edges longer than 4/3 of
the length, merge those shorter than 4/5, turn edges towards six neighbours at each vertex, move vertices within the
surface towards their neighbours' middle, and put them back on the surface that was there before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.measures import surface_area
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers, Overlay
from lab.geometry.operations.channels import find_seams
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.operations.subdivide import subdivide_to_length
from lab.geometry.operations.working import FIXED, FREE, LINE, WorkingMesh
from lab.geometry.primitives.primitive import Length
from lab.geometry.queries import SpatialIndex
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import Edges, face_vectors, find_edges, unit, vertex_normals
from lab.ranges import Ge, Le

_RETREATS = 20


def remesh(
    mesh: DynamicMesh, length: float, iterations: int = 5, angle: float = 40.0, most: int = 10_000_000
) -> DynamicMesh:
    """Return the mesh with edges of about one length, on the same surface.

    Borders, lines between polygroups or slots, UV seams and sharp edges stay: their vertices are points of the old
    lines, and no triangle crosses them, so parts keep polygroup and slot. Other vertices take the UVs of the point of
    the old surface that they lie on. Normals are computed anew with the seams that are left.

    Args:
        mesh: any.
        length: metres.
        iterations: rounds; the first few do most.
        angle: degrees between two triangles from which their edge is sharp.
        most: triangles; what would be more is refused.

    Raises:
        GeometryError: a length that is not above 0, or one that makes too many triangles.
    """
    if not length > 0:
        raise GeometryError(f"must be above 0, not {length:g}", "length")
    expected = int(surface_area(mesh) / (np.sqrt(3) / 4 * length**2))
    if expected > most:
        raise GeometryError(f"{length:g} makes about {expected} triangles, more than {most}", "length")
    index = SpatialIndex(mesh)
    work = WorkingMesh.of(subdivide_to_length(mesh, 4 / 3 * length, 4 * most))
    for _ in range(iterations):
        _cut(work, length)
        _merge_short(work, length, angle)
        _turn(work, angle)
        _relax(work, angle, index)
    return refresh_normals(_with_old_uvs(work, angle, index).mesh())


def _lines(work: WorkingMesh, edges: Edges, angle: float) -> tuple[Flags, Integers]:
    """Return (E,) the edges that stay lines, and (V,) what vertices may do; a line is fixed where it turns sharply."""
    lines = work.features(edges)
    normals = unit(face_vectors(work.positions, work.triangles))
    left, right = edges.pairs.T
    least = np.cos(np.radians(angle))
    lines[edges.inner] |= (normals[left] * normals[right]).sum(axis=1) < least
    freedom = work.freedom(edges, lines)
    ends = edges.vertices[lines]
    here, there = np.concatenate([ends, ends[:, ::-1]]).T
    ways = unit(work.positions[there] - work.positions[here])
    total = np.stack([np.bincount(here, ways[:, k], minlength=len(work.positions)) for k in range(3)], axis=1)
    # Two directions that leave a point in opposite ways add up to nothing; their sum is 2 sin(turn / 2) long.
    freedom[(freedom == LINE) & (np.linalg.norm(total, axis=1) > 2 * np.sin(np.radians(angle) / 2))] = FIXED
    return lines, freedom


def _cut(work: WorkingMesh, length: float) -> None:
    corners = work.positions[work.triangles]
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    marks = sides > 4 / 3 * length
    if marks.any():
        work.split(marks)


def _merge_short(work: WorkingMesh, length: float, angle: float) -> None:
    """Merge edges that are too short, onto an end of theirs: so lines keep to their points."""
    random = np.random.default_rng(0)
    while True:
        edges = find_edges(work.triangles)
        lines, freedom = _lines(work, edges, angle)
        low, high = edges.vertices.T
        sides = np.linalg.norm(work.positions[low] - work.positions[high], axis=1)
        first, second = freedom[low], freedom[high]
        chosen = (sides < 4 / 5 * length) & ((first != FIXED) | (second != FIXED))
        places = np.flatnonzero(chosen & ((first == FREE) | (second == FREE) | lines))
        places = random.permutation(places)
        kept, gone = (np.where(second > first, *ends)[places] for ends in ((high, low), (low, high)))
        fine = _farthest_neighbour(work, edges, gone, kept) <= 4 / 3 * length
        places, kept = places[fine], kept[fine]
        targets = work.positions[kept]
        if not len(work.collapse(edges, lines, places, kept, targets, len(places), least_cosine=0.8)):
            return


def _farthest_neighbour(work: WorkingMesh, edges: Edges, gone: Integers, kept: Integers) -> Floats:
    """Return (K,) the longest edge that a vertex would have if its neighbours were those of another."""
    here, there = np.concatenate([edges.vertices, edges.vertices[:, ::-1]]).T
    there = there[np.argsort(here, kind="stable")]
    counts = np.bincount(here, minlength=len(work.positions))
    starts = np.cumsum(counts) - counts
    number = counts[gone]
    row = np.repeat(np.arange(len(gone)), number)
    within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    far = np.linalg.norm(work.positions[there[starts[gone[row]] + within]] - work.positions[kept[row]], axis=1)
    longest = np.zeros(len(gone))
    np.maximum.at(longest, row, far)
    return longest


def _turn(work: WorkingMesh, angle: float) -> None:
    """Turn edges where that brings vertices nearer to six neighbours, four at borders."""
    edges = find_edges(work.triangles)
    lines, _ = _lines(work, edges, angle)
    fine = edges.inner & ~lines
    first = 1 if work.like.normals is None else 2
    for corners, values in zip(work.corners[first:], work.values[first:], strict=True):
        fine &= ~find_seams(edges.halves, Overlay(values, corners), at_one_end=True)
    places = np.flatnonzero(fine)
    excess = np.bincount(edges.vertices.ravel(), minlength=len(work.positions)) - 6
    excess[edges.vertices[edges.count == 1]] += 2
    triangle, k = np.divmod(edges.halves[places], 3)
    apex = work.triangles[triangle, (k + 2) % 3]
    now, then = excess[edges.vertices[places]], excess[apex]
    gain = (now**2 - (now - 1) ** 2).sum(axis=1) + (then**2 - (then + 1) ** 2).sum(axis=1)
    order = np.argsort(-gain, kind="stable")
    work.flip(edges, places[order[gain[order] > 0]])


def _relax(work: WorkingMesh, angle: float, index: SpatialIndex) -> None:
    """Move free vertices within the surface towards the middle of their neighbours, then onto the old surface."""
    edges = find_edges(work.triangles)
    _, freedom = _lines(work, edges, angle)
    count = len(work.positions)
    here, there = np.concatenate([edges.vertices, edges.vertices[:, ::-1]]).T
    valence = np.maximum(np.bincount(here, minlength=count), 1)[:, None]
    total = np.stack([np.bincount(here, work.positions[there, k], minlength=count) for k in range(3)], axis=1)
    step = total / valence - work.positions
    normals = vertex_normals(work.positions, work.triangles)
    step -= (step * normals).sum(axis=1, keepdims=True) * normals
    free = _moving(work, freedom)
    old = work.positions.copy()
    work.positions[free] = index.nearest(old[free] + step[free]).points
    before = unit(face_vectors(old, work.triangles))
    for _ in range(_RETREATS):  # what would turn a triangle over stays, and then its neighbours may have to
        vectors = face_vectors(work.positions, work.triangles)
        corners = work.positions[work.triangles]
        longest = ((corners - np.roll(corners, 1, axis=1)) ** 2).sum(axis=2).max(axis=1)
        wrong = (before * vectors).sum(axis=1) < np.maximum(0.2 * np.linalg.norm(vectors, axis=1), 0.05 * longest)
        moved = work.triangles[wrong].ravel()
        moved = moved[(work.positions[moved] != old[moved]).any(axis=1)]
        if not len(moved):
            return
        work.positions[moved] = old[moved]


def _moving(work: WorkingMesh, freedom: Integers) -> Integers:
    """Return the free vertices that triangles use."""
    used = np.zeros(len(work.positions), dtype=bool)
    used[work.triangles] = True
    return np.flatnonzero(used & (freedom == FREE))


def _with_old_uvs(work: WorkingMesh, angle: float, index: SpatialIndex) -> WorkingMesh:
    """Give free vertices the UVs of the old surface where they lie."""
    edges = find_edges(work.triangles)
    free = _moving(work, _lines(work, edges, angle)[1])
    if not index.mesh.uvs or not len(free):
        return work
    found = index.nearest(work.positions[free])
    place = np.full(len(work.positions), -1, dtype=np.int64)
    place[free] = np.arange(len(free))
    first = 1 if work.like.normals is None else 2
    for channel, layer in enumerate(index.mesh.uvs, first):
        corners = layer.corners[found.triangles]
        there: Flags = np.asarray((corners >= 0).all(axis=1))
        if not len(layer.elements):
            continue
        values = (found.weights[..., None] * layer.elements[np.maximum(corners, 0)]).sum(axis=1)
        rows = place[work.triangles]
        wanted = (rows >= 0) & (work.corners[channel] >= 0)
        wanted[wanted] = there[rows[wanted]]
        work.values[channel][work.corners[channel][wanted]] = values[rows[wanted]]
    return work


@dataclass(frozen=True, kw_only=True)
class Remesh(Tool):
    """Makes edges of about one length, on the same surface.

    Attributes:
        length: of edges, metres.
        iterations: rounds.
        angle: degrees from which an edge is sharp and stays.
    """

    word: ClassVar[str] = "remesh"

    length: Length
    iterations: Annotated[int, Ge(1), Le(100)] = 5
    angle: Annotated[float, Ge(0), Le(180)] = 40.0

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with even triangles."""
        return remesh(mesh, self.length, self.iterations, self.angle, context.budget.triangles)
