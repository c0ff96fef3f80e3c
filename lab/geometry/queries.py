"""Questions about where things are: rays, the nearest point, inside or outside, distances, points drawn on a surface.

Rays are found by Embree in float32 and their hits computed anew in float64. Nearest points are exact in float64: a tree
over the triangles' centroids, one for each size of triangle, leaves a few candidates for each point. The inside of a
closed mesh is counted along rays, of an open one by winding numbers (van Oosterom and Strackee, "The Solid Angle of a
Plane Triangle", 1983; Jacobson, Kavan and Sorkine-Hornung, "Robust Inside-Outside Segmentation", 2013).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lab.errors import GeometryError
from lab.geometry.crossings import CrossingCounter
from lab.geometry.measures import face_areas, face_normals, is_watertight, require_watertight
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers
from lab.geometry.topology import barycentric

if TYPE_CHECKING:
    from lab.geometry.render.embree import InstanceTree

NO_TRIANGLE = -1
"""The triangle of a ray that hits nothing."""
_PAIRS = 2_000_000  # points times triangles that are held at once
_POINTS = 8192
_ROUNDING = 1e-12


@dataclass(frozen=True)
class RayHits:
    """Where rays first meet a mesh; R rays.

    Attributes:
        distances: (R,) metres along the ray; infinite where nothing is hit.
        triangles: (R,) int64, or ``NO_TRIANGLE``.
        weights: (R, 3) barycentric weights of the triangle's corners; NaN where nothing is hit.
        points: (R, 3); NaN where nothing is hit.
    """

    distances: Floats
    triangles: Integers
    weights: Floats
    points: Floats


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a mesh; N of them.

    Attributes:
        points: (N, 3).
        triangles: (N,) int64 that each lies on.
        weights: (N, 3) barycentric weights of the triangle's corners.
    """

    points: Floats
    triangles: Integers
    weights: Floats


class SpatialIndex:
    """A mesh prepared for questions; each structure is built when it is first needed.

    Args:
        mesh: with triangles.

    Raises:
        GeometryError: it has none.
    """

    def __init__(self, mesh: DynamicMesh) -> None:
        if not mesh.num_triangles:
            raise GeometryError("the mesh has no triangles")
        self.mesh = mesh
        self._corners = mesh.positions[mesh.triangles]

    def cast_rays(self, origins: ArrayLike, directions: ArrayLike) -> RayHits:
        """Return what rays hit first, from either side.

        Args:
            origins: (R, 3) or (3,) metres.
            directions: (R, 3) or (3,) of any length above 0.

        Raises:
            GeometryError: other shapes, a direction of no length, or embreex is missing.
        """
        starts, ways = np.broadcast_arrays(_points(origins, "origins"), _points(directions, "directions"))
        lengths = np.linalg.norm(ways, axis=1, keepdims=True)
        if not (lengths > 0).all():
            raise GeometryError(f"ray {int(np.flatnonzero(lengths[:, 0] <= 0)[0])} has no direction", "directions")
        ways = ways / lengths
        found = self._embree.closest(
            np.ascontiguousarray((starts - self._middle).T, np.float32), np.ascontiguousarray(ways.T, np.float32)
        )
        hit = found.instance >= 0
        triangles = np.where(hit, found.triangle, NO_TRIANGLE).astype(np.int64)
        distances = np.full(len(starts), np.inf)
        weights = np.full((len(starts), 3), np.nan)
        points = np.full((len(starts), 3), np.nan)
        corners = self._corners[triangles[hit]]
        normal = self._upright[triangles[hit]]
        slope = np.einsum("kd,kd->k", normal, ways[hit])
        gap = np.einsum("kd,kd->k", normal, corners[:, 0] - starts[hit])
        exact = np.where(slope == 0, found.distance[hit], gap / np.where(slope == 0, 1.0, slope))
        points[hit] = starts[hit] + exact[:, None] * ways[hit]
        distances[hit] = exact
        weights[hit] = barycentric(points[hit][:, None], corners)[:, 0]
        return RayHits(distances, triangles, weights, points)

    def nearest(self, points: ArrayLike) -> SurfacePoints:
        """Return the nearest point of the surface to each point (N, 3); of several, one of the lowest triangle."""
        where = _points(points, "points")
        limit = self._upper_bounds(where)
        best = np.full(len(where), np.inf)
        owner = np.zeros(len(where), dtype=np.int64)
        for start in range(0, len(where), _POINTS):
            part = slice(start, start + _POINTS)
            for tree, members, radius in self._sizes:
                self._improve(where[part], limit[part], best[part], owner[part], tree, members, radius)
        weights = nearest_weights(where, self._corners[owner])
        return SurfacePoints(_mixed(weights, self._corners[owner]), owner, weights)

    def _improve(
        self,
        points: Floats,
        limit: Floats,
        best: Floats,
        owner: Integers,
        tree: Any,
        members: Integers,
        radius: float,
    ) -> None:
        """Write squared distances to triangles of one size into ``best``, and whose they are into ``owner``."""
        lists = tree.query_ball_point(points, limit + radius)
        row = np.repeat(np.arange(len(points)), [len(found) for found in lists])
        if not len(row):
            return
        triangle = members[np.fromiter(itertools.chain.from_iterable(lists), np.int64, len(row))]
        kept = self._lower_bounds(points[row], triangle) <= limit[row] ** 2
        row, triangle = row[kept], triangle[kept]
        if not len(row):
            return
        gap = np.empty(len(row))
        for start in range(0, len(row), _PAIRS):
            one = slice(start, start + _PAIRS)
            corners, there = self._corners[triangle[one]], points[row[one]]
            gap[one] = ((_mixed(nearest_weights(there, corners), corners) - there) ** 2).sum(axis=1)
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        rows, least = row[starts], np.minimum.reduceat(gap, starts)
        at_least = gap == np.repeat(least, np.diff(starts, append=len(row)))
        lowest = np.minimum.reduceat(np.where(at_least, triangle, np.iinfo(np.int64).max), starts)
        taken = (least < best[rows]) | ((least == best[rows]) & (lowest < owner[rows]))
        best[rows[taken]], owner[rows[taken]] = least[taken], lowest[taken]

    def _lower_bounds(self, points: Floats, triangle: Integers) -> Floats:
        """Return (K,) what squared distances to triangles cannot be below: to a disc around each, in its plane."""
        local = points - self._centres[triangle]
        height = np.abs(np.einsum("kd,kd->k", local, self._upright[triangle]))
        square = np.einsum("kd,kd->k", local, local)
        across = np.sqrt(np.maximum(square * (1 - _ROUNDING) - height**2, 0.0))
        slack = _ROUNDING * (np.sqrt(square) + self._reach)
        above, beside = height - slack, across - self._radii[triangle] - slack
        return np.asarray(np.maximum(above, 0.0) ** 2 + np.maximum(beside, 0.0) ** 2)

    def distances(self, points: ArrayLike) -> Floats:
        """Return (N,) metres from points (N, 3) to the surface."""
        where = _points(points, "points")
        return np.asarray(np.linalg.norm(self.nearest(where).points - where, axis=1))

    def signed_distances(self, points: ArrayLike) -> Floats:
        """Return (N,) metres from points (N, 3) to the surface, negative inside.

        Where closed parts overlap, the distance to the nearest surface, be it within another part.

        Raises:
            GeometryError: the mesh is not watertight.
        """
        require_watertight(self.mesh)
        where = _points(points, "points")
        return np.asarray(np.where(self.inside(where), -1.0, 1.0) * self.distances(where))

    def winding_numbers(self, points: ArrayLike) -> Floats:
        """Return (N,) how often the surface goes around points (N, 3): 1 inside and 0 outside of a closed mesh.

        Between these near holes of an open one; 2 where two closed parts overlap. Takes time in N x F.
        """
        where = _points(points, "points")
        total = np.empty(len(where))
        step = max(1, _PAIRS // self.mesh.num_triangles)
        for start in range(0, len(where), step):
            a, b, c = np.moveaxis(self._corners[None] - where[start : start + step, None, None], 2, 0)
            la, lb, lc = (np.linalg.norm(side, axis=2) for side in (a, b, c))
            triple = (a * np.cross(b, c)).sum(axis=2)
            rest = la * lb * lc + (a * b).sum(axis=2) * lc + (b * c).sum(axis=2) * la + (c * a).sum(axis=2) * lb
            total[start : start + step] = np.arctan2(triple, rest).sum(axis=1) / (2 * np.pi)
        return total

    def inside(self, points: ArrayLike) -> Flags:
        """Return (N,) whether the surface goes around points (N, 3), also where parts of it overlap.

        Of an open mesh: around at least half, see ``winding_numbers``; that is slow.
        """
        if self._crossings is None:
            return np.asarray(self.winding_numbers(points) > 0.5)
        return np.asarray(self._crossings.winding_numbers(_points(points, "points")) > 0)

    @cached_property
    def _crossings(self) -> CrossingCounter | None:
        return CrossingCounter(self.mesh) if is_watertight(self.mesh) else None

    @cached_property
    def _middle(self) -> Floats:
        """(3,) where the origin of Embree's float32 is put."""
        return np.asarray((self.mesh.positions.min(axis=0) + self.mesh.positions.max(axis=0)) / 2)

    @cached_property
    def _embree(self) -> InstanceTree:
        from lab.geometry.render.embree import InstanceTree, MeshTree

        positions = (self.mesh.positions - self._middle).astype(np.float32)
        return InstanceTree([MeshTree(positions, self.mesh.triangles.astype(np.int32))], np.eye(4)[None])

    @cached_property
    def _sizes(self) -> list[tuple[Any, Integers, float]]:
        """Trees over the centres of triangles of about one size: the tree, the triangles, their largest radius."""
        from scipy.spatial import cKDTree

        largest = max(float(self._radii.max()), np.finfo(float).tiny)
        size = np.minimum(np.floor(np.log2(largest / np.maximum(self._radii, 1e-12 * largest))), 8).astype(np.int64)
        sizes = []
        for label in np.unique(size):
            members = np.flatnonzero(size == label)
            sizes.append((cKDTree(self._centres[members]), members, float(self._radii[members].max())))
        return sizes

    @cached_property
    def _reach(self) -> float:
        return float(np.abs(self.mesh.positions).max())

    @cached_property
    def _centres(self) -> Floats:
        return np.asarray(self._corners.mean(axis=1))

    @cached_property
    def _radii(self) -> Floats:
        return np.asarray(np.linalg.norm(self._corners - self._centres[:, None], axis=2).max(axis=1))

    @cached_property
    def _upright(self) -> Floats:
        return face_normals(self.mesh)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self._centres)

    def _upper_bounds(self, points: Floats) -> Floats:
        """Return (N,) distances to a near triangle."""
        few = min(4, self.mesh.num_triangles)
        near = self._tree.query(points, few)[1].reshape(len(points), few)
        corners = self._corners[near.ravel()]
        weights = nearest_weights(np.repeat(points, few, axis=0), corners)
        gaps = np.linalg.norm(_mixed(weights, corners).reshape(len(points), few, 3) - points[:, None], axis=2)
        return np.asarray(gaps.min(axis=1) * (1 + 1e-12) + 1e-300)


def sample_surface(mesh: DynamicMesh, count: int, random: np.random.Generator) -> SurfacePoints:
    """Return points drawn evenly over the area of a mesh.

    Args:
        mesh: with area.
        count: of points.
        random: where the draws come from.

    Raises:
        GeometryError: the mesh has no area.
    """
    areas = face_areas(mesh)
    total = areas.sum()
    if not total > 0:
        raise GeometryError("a mesh without area has no points to draw")
    ends = np.cumsum(areas)
    triangles = np.minimum(np.searchsorted(ends, random.random(count) * ends[-1], side="right"), len(areas) - 1)
    root, share = np.sqrt(random.random(count)), random.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], axis=1)
    return SurfacePoints(_mixed(weights, mesh.positions[mesh.triangles[triangles]]), triangles, weights)


def sample_volume(mesh: DynamicMesh, count: int, random: np.random.Generator) -> Floats:
    """Return (count, 3) points drawn evenly inside a watertight mesh, by drawing in its box until enough are inside.

    Args:
        mesh: that encloses a volume.
        count: of points.
        random: where the draws come from.

    Raises:
        GeometryError: the mesh is not watertight, or fills less than a thousandth of its box.
    """
    require_watertight(mesh)
    index = SpatialIndex(mesh)
    low, high = mesh.positions.min(axis=0), mesh.positions.max(axis=0)
    kept: list[Floats] = []
    drawn, found = 0, 0
    while found < count:
        points = low + random.random((max(2 * (count - found), 64), 3)) * (high - low)
        kept.append(points[index.inside(points)])
        drawn, found = drawn + len(points), found + len(kept[-1])
        if drawn > 1000 * (found + 100):
            raise GeometryError("the mesh fills less than a thousandth of its box: too little to draw points in")
    return np.concatenate([np.zeros((0, 3)), *kept])[:count]


def nearest_weights(points: Floats, corners: Floats) -> Floats:
    """Return (N, 3) barycentric weights of the point of a triangle (N, 3, 3) that is nearest to a point (N, 3).

    On an edge the weight of the corner opposite is exactly 0, at a corner those of both others.
    """
    a, b, c = np.moveaxis(corners, 1, 0)
    normal = np.cross(b - a, c - a)
    size = (normal**2).sum(axis=1)
    safe = np.where(size > 0, size, 1.0)
    local = points - a
    second = (np.cross(local, c - a) * normal).sum(axis=1) / safe
    third = (np.cross(b - a, local) * normal).sum(axis=1) / safe
    within = (size > 0) & (second > 0) & (third > 0) & (second + third < 1)
    weights = np.stack([1 - second - third, second, third], axis=1)
    outside = np.flatnonzero(~within)
    best = np.full(len(outside), np.inf)
    for k in range(3):
        tail, head = corners[outside, k], corners[outside, (k + 1) % 3]
        way = head - tail
        length = (way**2).sum(axis=1)
        share = np.clip(((points[outside] - tail) * way).sum(axis=1) / np.where(length > 0, length, 1.0), 0, 1)
        gap = ((tail + share[:, None] * way - points[outside]) ** 2).sum(axis=1)
        closer = gap < best
        best = np.where(closer, gap, best)
        rows = outside[closer]
        weights[rows] = 0.0
        weights[rows, k], weights[rows, (k + 1) % 3] = 1 - share[closer], share[closer]
    return weights


def _mixed(weights: Floats, corners: Floats) -> Floats:
    return np.asarray((weights[..., None] * corners).sum(axis=1))


def _points(values: ArrayLike, name: str) -> Floats:
    array = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise GeometryError(f"must be finite points of shape (N, 3), not {array.shape}", name)
    return array
