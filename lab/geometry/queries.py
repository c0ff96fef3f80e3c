"""Questions about where things are: rays, the nearest point, inside or outside, distances, points drawn on a surface.

Rays are found by Embree in float32 and their hits computed anew in float64. Nearest points are exact in float64. The
inside of a closed mesh is counted along rays, of an open one by winding numbers (van Oosterom and Strackee, "The Solid
Angle of a Plane Triangle", 1983; Jacobson, Kavan and Sorkine-Hornung, "Robust Inside-Outside Segmentation", 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lab.errors import GeometryError
from lab.geometry.crossings import CrossingCounter
from lab.geometry.measures import face_areas, face_normals, is_watertight, require_watertight
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers
from lab.geometry.nearest import NearestTriangles, mixed
from lab.geometry.topology import corner_weights, weight_gradients

if TYPE_CHECKING:
    from lab.geometry.render.embree import MeshTree

NO_TRIANGLE = -1
"""The triangle of a ray that hits nothing."""
_PAIRS = 2_000_000  # points times triangles that are held at once


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
        lengths = np.sqrt(np.einsum("rd,rd->r", ways, ways))
        if not lengths.all():
            raise GeometryError(f"ray {int(np.argmin(lengths))} has no direction", "directions")
        from_middle, units = np.empty((2, 3, len(starts)), np.float32)
        np.subtract(starts.T, self._middle[:, None], out=from_middle, casting="same_kind")
        np.divide(ways.T, lengths, out=units, casting="same_kind")
        found = self._embree.closest(from_middle, units)
        triangles = found.triangle.astype(np.int64)
        hit = np.flatnonzero(triangles >= 0)
        distances = np.full(len(starts), np.inf)
        weights = np.full((len(starts), 3), np.nan)
        points = np.full((len(starts), 3), np.nan)
        met, start = triangles.take(hit), starts.take(hit, axis=0)
        way = ways.take(hit, axis=0) / lengths.take(hit)[:, None]
        normal, corner = self._upright.take(met, axis=0), self._first.take(met, axis=0)
        slope = np.einsum("kd,kd->k", normal, way)
        gap = np.einsum("kd,kd->k", normal, corner - start)
        exact = np.divide(gap, slope, out=found.distance.take(hit).astype(np.float64), where=slope != 0)
        place = start + exact[:, None] * way
        distances[hit], points[hit] = exact, place
        weights[hit] = corner_weights(place - corner, *(gradient.take(met, axis=0) for gradient in self._gradients))
        return RayHits(distances, triangles, weights, points)

    def nearest(self, points: ArrayLike) -> SurfacePoints:
        """Return the nearest point of the surface to each point (N, 3); of several, one of the lowest triangle."""
        where = _points(points, "points")
        triangles, weights = self._nearest.find(where)
        return SurfacePoints(mixed(weights, self._corners[triangles]), triangles, weights)

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
    def _embree(self) -> MeshTree:
        from lab.geometry.render.embree import MeshTree

        return MeshTree((self.mesh.positions - self._middle).astype(np.float32), self.mesh.triangles.astype(np.int32))

    @cached_property
    def _nearest(self) -> NearestTriangles:
        return NearestTriangles(self._corners)

    @cached_property
    def _first(self) -> Floats:
        return np.ascontiguousarray(self._corners[:, 0])

    @cached_property
    def _upright(self) -> Floats:
        return face_normals(self.mesh)

    @cached_property
    def _gradients(self) -> tuple[Floats, Floats]:
        return weight_gradients(self._corners)


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
    return SurfacePoints(mixed(weights, mesh.positions[mesh.triangles[triangles]]), triangles, weights)


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


def _points(values: ArrayLike, name: str) -> Floats:
    array = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise GeometryError(f"must be finite points of shape (N, 3), not {array.shape}", name)
    return array
