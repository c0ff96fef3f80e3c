"""Simplification to a number of triangles, or as far as an error allows, by merging edges.

Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics" (1997): each vertex carries the squared
distances to the planes of the triangles that it stands for, weighted by area. Edges are merged many at a time, in
rounds: of the cheapest ones those that touch no common triangle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.operations.working import FIXED, FREE, WorkingMesh
from lab.geometry.primitives.primitive import Length
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import Edges, face_vectors, find_edges, unit
from lab.ranges import Ge

KEEP = ("all", "borders", "none")
_SHARE = 0.2  # of the cheapest edges that a round considers
_LINE_WEIGHT = 10.0  # of the planes along feature lines, against the faces' planes


def simplify(mesh: DynamicMesh, triangles: int, keep: str = "all", max_error: float = np.inf) -> DynamicMesh:
    """Return the mesh with at most so many triangles.

    Triangles that remain keep their polygroup and slot. UVs are interpolated along merged edges. Normals are computed
    anew with the seams that are left.

    Args:
        mesh: any; edges of more than two triangles stay where they are.
        triangles: the budget; a mesh within it is returned as it is.
        keep: lines that stay: ``all`` borders, lines between polygroups or slots and UV seams; open ``borders`` only;
            or ``none``, where borders too may shrink.
        max_error: metres; edges that would move the surface farther (root mean square over their planes) stay.

    Raises:
        GeometryError: the budget cannot be reached without losing what is to be kept, or an unknown word.
    """
    if triangles < 1:
        raise GeometryError(f"must be at least 1, not {triangles}", "triangles")
    _check_keep(keep)
    if mesh.num_triangles <= triangles:
        return mesh
    work = _merged(WorkingMesh.of(mesh), triangles, keep, max_error)
    if len(work.triangles) > triangles:
        loosen = ", ".join(word for word in KEEP if word != keep)
        raise GeometryError(
            f"{triangles} is out of reach: {len(work.triangles)} triangles are left; allow more, "
            + ("raise max_error, " if np.isfinite(max_error) else "")
            + f"or set keep to {loosen}",
            "triangles",
        )
    return refresh_normals(work.mesh())


def simplify_planar(mesh: DynamicMesh, max_error: float = 1e-6, keep: str = "all") -> DynamicMesh:
    """Return the mesh with as few triangles as its shape needs: flat parts become large triangles.

    Attributes as in ``simplify``.

    Args:
        mesh: any.
        max_error: metres that the surface may move.
        keep: see ``simplify``.

    Raises:
        GeometryError: an error that is not above 0, or an unknown word.
    """
    if not max_error > 0:
        raise GeometryError(f"must be above 0, not {max_error:g}", "max_error")
    _check_keep(keep)
    return refresh_normals(_merged(WorkingMesh.of(mesh), 0, keep, max_error).mesh())


def _check_keep(keep: str) -> None:
    if keep not in KEEP:
        raise GeometryError(f"must be {', '.join(KEEP)}, not {keep!r}", "keep")


def _merged(work: WorkingMesh, triangles: int, keep: str, max_error: float) -> WorkingMesh:
    """Merge edges in rounds until the budget is met or no edge can be merged."""
    edges = find_edges(work.triangles)
    features = work.features(edges, keep)
    origin = work.positions.mean(axis=0)
    quadrics = _quadrics(work, edges, features & (keep != "none"), origin)
    share, random = _SHARE, np.random.default_rng(0)
    while len(work.triangles) > triangles:
        chosen, kept, targets, costs = _candidates(work, edges, features, quadrics, keep, origin, max_error)
        # Edges of about one cost are taken in any order: of a regular mesh's, many then touch no common triangle.
        order = _cheapest(np.frexp(costs + 1e-300)[1] + random.random(len(costs)), max(64, int(share * len(chosen))))
        chosen, kept, targets, count = chosen[order], kept[order], targets[order], len(chosen)
        most = max(1, -(-(len(work.triangles) - triangles) // 2))
        gone = np.where(edges.vertices[chosen, 0] == kept, edges.vertices[chosen, 1], edges.vertices[chosen, 0])
        done = work.collapse(edges, features, chosen, kept, targets, most)
        if len(done):
            quadrics[:, kept[done]] += quadrics[:, gone[done]]
            edges = find_edges(work.triangles)
            features = work.features(edges, keep)
            share = _SHARE
        elif len(order) == count:
            break
        else:
            share = min(1.0, 4 * share)
    return work


def _cheapest(keys: Floats, count: int) -> Integers:
    """Return the places of the lowest keys (N,), ascending, ``count`` of them at most."""
    if count >= len(keys):
        return np.argsort(keys)
    lowest = np.argpartition(keys, count)[:count]
    return np.asarray(lowest[np.argsort(keys[lowest])])


def _candidates(
    work: WorkingMesh,
    edges: Edges,
    features: Flags,
    quadrics: Floats,
    keep: str,
    origin: Floats,
    max_error: float,
) -> tuple[Integers, Integers, Floats, Floats]:
    """Return edges that may be merged, the end that stays, where it goes (K, 3), and what that costs."""
    freedom = work.freedom(edges, features if keep != "none" else np.zeros_like(features))
    first, second = freedom[edges.vertices].T
    # Lines meet only along themselves, and fixed points not at all.
    chosen = np.flatnonzero(((first == FREE) | (second == FREE) | features) & ((first != FIXED) | (second != FIXED)))
    low, high = edges.vertices[chosen].T
    first, second = first[chosen], second[chosen]
    kept, unlike = np.where(second > first, high, low), first != second
    total = quadrics.take(low, axis=1) + quadrics.take(high, axis=1)
    area = total[-1]
    positions = np.ascontiguousarray((work.positions - origin).T)
    at_low, at_high = positions.take(low, axis=1), positions.take(high, axis=1)
    middle = (at_low + at_high) / 2
    square = ((at_high - at_low) ** 2).sum(axis=0)  # of the edge's length
    targets = _lowest(total, middle)
    np.copyto(targets, middle, where=((targets - middle) ** 2).sum(axis=0) > square)
    np.copyto(targets, positions.take(kept, axis=1), where=unlike)
    costs = np.maximum(_evaluate(total, targets), 0.0)
    for end, place in ((low, at_low), (high, at_high)):
        at_end = np.maximum(_evaluate(total, place), 0.0)
        # An end that is as good is exact. Where the ends are not of one kind, it can only be the one that stays.
        as_good = (at_end <= costs + 1e-12 * square * area) & (~unlike | (end == kept))
        np.copyto(targets, place, where=as_good)
        np.copyto(costs, at_end, where=as_good)
    fine = costs <= max_error**2 * area if np.isfinite(max_error) else np.ones(len(costs), dtype=bool)
    costs = costs + 1e-9 * square * area  # of edges that cost nothing, the short ones first
    return chosen[fine], kept[fine], targets.T[fine] + origin, costs[fine]


def _quadrics(work: WorkingMesh, edges: Edges, features: Flags, origin: Floats) -> Floats:
    """Return (11, V): half of A (6), b (3) and c of x'Ax + 2 b'x + c at each vertex, and the area it stands for."""
    positions, triangles = work.positions - origin, work.triangles
    vectors = face_vectors(positions, triangles)
    area = np.linalg.norm(vectors, axis=1) / 2
    result = np.zeros((11, len(positions)))
    _add_planes(result, triangles, unit(vectors), positions[triangles[:, 0]], area / 3, area / 3)
    for side in range(2):
        half = edges.halves[features, side]
        triangle, k = np.divmod(half[half >= 0], 3)
        ends = np.stack([triangles[triangle, k], triangles[triangle, (k + 1) % 3]], axis=1)
        way = positions[ends[:, 1]] - positions[ends[:, 0]]
        upright = unit(np.cross(way, vectors[triangle]))
        _add_planes(result, ends, upright, positions[ends[:, 0]], _LINE_WEIGHT * (way**2).sum(axis=1), 0 * way[:, 0])
    return result


def _add_planes(
    result: Floats, vertices: Integers, normals: Floats, points: Floats, weight: Floats, area: Floats
) -> None:
    """Add the planes through points (N, 3) to the quadrics of vertices (N, K)."""
    x, y, z = normals.T
    gap = -(normals * points).sum(axis=1)
    parts = x * x, x * y, x * z, y * y, y * z, z * z, gap * x, gap * y, gap * z, gap * gap
    for row, values in zip(result, [*(weight * part for part in parts), area], strict=True):
        for column in vertices.T:
            row += np.bincount(column, values, minlength=len(row))


def _lowest(quadrics: Floats, middle: Floats) -> Floats:
    """Return the points (3, N) of least error; in a plane or along a line, those nearest to the middles (3, N).

    A millionth of its trace is added to A, which makes it positive definite: it is solved by A = L D L'.
    """
    xx, xy, xz, yy, yz, zz, *linear = quadrics[:9]
    slack = np.maximum(1e-6 * (xx + yy + zz), 1e-300)
    first, second, third = (slack * place - values for place, values in zip(middle, linear, strict=True))
    at_x = xx + slack
    to_y, to_z = xy / at_x, xz / at_x
    at_y = yy + slack - to_y * xy
    across = (yz - to_y * xz) / at_y
    at_z = zz + slack - to_z * xz - across**2 * at_y
    second = second - to_y * first
    z = (third - to_z * first - across * second) / at_z
    y = second / at_y - across * z
    return np.stack([first / at_x - to_y * y - to_z * z, y, z])


def _evaluate(quadrics: Floats, points: Floats) -> Floats:
    """Return (N,) x'Ax + 2 b'x + c at points (3, N)."""
    xx, xy, xz, yy, yz, zz, bx, by, bz, c = quadrics[:10]
    x, y, z = points
    along_x = xx * x + 2 * (xy * y + xz * z + bx)
    along_y = yy * y + 2 * (yz * z + by)
    return np.asarray(along_x * x + along_y * y + (zz * z + 2 * bz) * z + c)


@dataclass(frozen=True, kw_only=True)
class Simplify(Tool):
    """Simplifies to a number of triangles, or to as few as the shape needs.

    Attributes:
        triangles: the budget; null for as few as ``max_error`` allows.
        keep: lines that stay.
        max_error: metres that the surface may move; null for no bound with a budget, and a millionth without one.
    """

    word: ClassVar[str] = "simplify"

    triangles: Annotated[int, Ge(1)] | None = None
    keep: Literal["all", "borders", "none"] = "all"
    max_error: Length | None = None

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with fewer triangles."""
        if self.triangles is None:
            return simplify_planar(mesh, self.max_error or 1e-6, self.keep)
        return simplify(mesh, self.triangles, self.keep, self.max_error or np.inf)
