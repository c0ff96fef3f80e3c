"""How often a closed surface goes around points, by the triangles that a ray from each crosses.

All rays go one way, so a triangle is crossed where its shadow covers the point, and a grid over the shadows finds the
few that may. Of the two triangles at an edge exactly one covers a point that rounding puts on the edge's shadow,
because both compute its side from the same numbers: no ray slips through and none counts twice.
"""

from __future__ import annotations

import numpy as np

from lab.geometry.mesh import DynamicMesh, Floats, Integers
from lab.geometry.topology import face_vectors

_PAIRS = 2_000_000  # points times triangles that are held at once
_AXIS = np.array([0.31415926535, 0.57721566490, 0.75409487])  # of the ray: no mesh that a person makes is along it


class CrossingCounter:
    """A closed mesh prepared for counting.

    Args:
        mesh: watertight.
    """

    def __init__(self, mesh: DynamicMesh) -> None:
        z = _AXIS / np.linalg.norm(_AXIS)
        x = np.cross((0.0, 0.0, 1.0), z)
        x /= np.linalg.norm(x)
        self._turn = np.stack([x, np.cross(z, x), z])
        self._places = mesh.positions @ self._turn.T
        self._triangles = mesh.triangles
        self._corners = self._places[mesh.triangles[:, 0]]
        self._normals = face_vectors(self._places, mesh.triangles)
        self._tops = self._places[mesh.triangles, 2].max(axis=1)
        # Of the three edges' shadows (x or y, 3, F): the lower vertex's, and the way from there to the higher vertex's.
        tails, heads = mesh.triangles.T, np.roll(mesh.triangles, -1, axis=1).T
        self._forward = tails < heads
        self._ends = np.stack([self._places[np.minimum(tails, heads), axis] for axis in (0, 1)])
        self._ways = np.stack([self._places[np.maximum(tails, heads), axis] for axis in (0, 1)]) - self._ends
        self._low = self._places[:, :2].min(axis=0)
        span = np.maximum(self._places[:, :2].max(axis=0) - self._low, 1e-300)
        self._cells = int(np.clip(2 * np.sqrt(mesh.num_triangles), 1, 1024))
        self._scale = self._cells / span
        self._order, self._starts = self._grid()

    def winding_numbers(self, points: Floats) -> Integers:
        """Return (N,) how often the surface goes around points (N, 3): 1 inside, 0 outside."""
        places = points @ self._turn.T
        cell = np.floor((places[:, :2] - self._low) * self._scale).astype(np.int64)
        beside = ((cell < 0) | (cell > self._cells)).any(axis=1)
        number = np.minimum(cell, self._cells - 1) @ np.array([self._cells, 1])
        number[beside] = 0
        counts = np.where(beside, 0, self._starts[number + 1] - self._starts[number])
        ends = np.cumsum(counts)
        total = np.zeros(len(points), dtype=np.int64)
        start = 0
        while start < len(points):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
            part = counts[start:stop]
            row = np.repeat(np.arange(stop - start), part)
            within = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
            triangle = self._order[self._starts[number[start:stop]][row] + within]
            above = np.flatnonzero(self._tops.take(triangle) > places[start:stop, 2].take(row))
            row, triangle = row.take(above), triangle.take(above)
            crossed = self._crossed(places[start:stop].take(row, axis=0), triangle)
            total[start:stop] = np.bincount(row, crossed, minlength=stop - start).astype(np.int64)
            start = stop
        return total

    def _crossed(self, points: Floats, triangle: Integers) -> Integers:
        """Return (K,) 1 where a ray leaves through a triangle, -1 where it enters, 0 where it misses."""
        (end_x, end_y), (way_x, way_y) = self._ends.take(triangle, axis=2), self._ways.take(triangle, axis=2)
        above = way_x * (points[:, 1] - end_y) - way_y * (points[:, 0] - end_x) >= 0
        left = (above == self._forward.take(triangle, axis=1)).sum(axis=0)
        covered = (left == 3).astype(np.int64) - (left == 0)
        rows = np.flatnonzero(covered)
        triangle = triangle.take(rows)
        normal, corner = self._normals.take(triangle, axis=0), self._corners.take(triangle, axis=0)
        gap = np.einsum("kd,kd->k", corner - points.take(rows, axis=0), normal)
        covered[rows[gap * np.sign(normal[:, 2]) <= 0]] = 0
        return covered

    def _grid(self) -> tuple[Integers, Integers]:
        """Return triangles ordered by the cells that their shadows' boxes touch, and where each cell's begin."""
        shadows = self._places[self._triangles][..., :2]
        first, last = (
            np.clip(np.floor((edge - self._low) * self._scale), 0, self._cells - 1).astype(np.int64)
            for edge in (shadows.min(axis=1), shadows.max(axis=1))
        )
        wide, high = (last - first + 1).T
        number = wide * high
        triangle = np.repeat(np.arange(len(number)), number)
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        row, column = first[triangle, 0] + within // high[triangle], first[triangle, 1] + within % high[triangle]
        cell = row * self._cells + column
        starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=self._cells**2))])
        return triangle[np.argsort(cell, kind="stable")], starts
