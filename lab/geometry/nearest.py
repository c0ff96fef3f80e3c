"""The nearest triangle to each of many points, exact in float64.

A tree over the triangles' centres, one for each size of triangle, leaves candidates for each point; the disc around
each of these, in its plane, leaves a few whose distance is computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from lab.geometry.mesh import Floats, Integers
from lab.geometry.topology import unit

_PAIRS = 2_000_000  # points times triangles that are held at once
_SIZES = 8  # powers of two between the largest triangles and those that are counted as one size
_ROUNDING = 1e-12


class NearestTriangles:
    """Triangles prepared for being found.

    Args:
        corners: (F, 3, 3) of triangles, one at least.
    """

    def __init__(self, corners: Floats) -> None:
        from scipy.spatial import cKDTree

        self._corners = corners
        self._centres = corners.mean(axis=1)
        self._radii = np.linalg.norm(corners - self._centres[:, None], axis=2).max(axis=1)
        self._normals = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        self._reach = float(np.abs(corners).max())
        self._all = cKDTree(self._centres)
        largest = max(float(self._radii.max()), np.finfo(float).tiny)
        sizes = np.floor(np.log2(largest / np.maximum(self._radii, 1e-12 * largest)))
        sizes = np.minimum(sizes, _SIZES)
        groups = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
        self._sizes = [(cKDTree(self._centres[group]), group, float(self._radii[group].max())) for group in groups]

    def find(self, points: Floats) -> tuple[Integers, Floats]:
        """Return (N,) the nearest triangle to each point (N, 3), the lowest of several, and (N, 3) weights there."""
        limit = self._upper_bounds(points)
        best = np.full(len(points), np.inf)
        owner = np.zeros(len(points), dtype=np.int64)
        for tree, group, radius in self._sizes:
            for part in _parts(tree, points, limit + radius):
                lists = tree.query_ball_point(points[part], limit[part] + radius)
                self._improve(points[part], limit[part], best[part], owner[part], lists, group)
        return owner, nearest_weights(points, self._corners[owner])

    def _improve(
        self, points: Floats, limit: Floats, best: Floats, owner: Integers, lists: Any, group: Integers
    ) -> None:
        """Write squared distances to candidates into ``best``, and whose they are into ``owner``."""
        row = np.repeat(np.arange(len(points)), [len(found) for found in lists])
        triangle = group[np.fromiter(itertools.chain.from_iterable(lists), np.int64, len(row))]
        kept = self._lower_bounds(points[row], triangle) <= limit[row] ** 2
        row, triangle = row[kept], triangle[kept]
        if not len(row):
            return
        corners = self._corners[triangle]
        gap = ((mixed(nearest_weights(points[row], corners), corners) - points[row]) ** 2).sum(axis=1)
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        rows, least = row[starts], np.minimum.reduceat(gap, starts)
        at_least = gap == np.repeat(least, np.diff(starts, append=len(row)))
        lowest = np.minimum.reduceat(np.where(at_least, triangle, np.iinfo(np.int64).max), starts)
        taken = (least < best[rows]) | ((least == best[rows]) & (lowest < owner[rows]))
        best[rows[taken]], owner[rows[taken]] = least[taken], lowest[taken]

    def _lower_bounds(self, points: Floats, triangle: Integers) -> Floats:
        """Return (K,) what squared distances to triangles cannot be below: to a disc around each, in its plane."""
        local = points - self._centres[triangle]
        height = np.abs(np.einsum("kd,kd->k", local, self._normals[triangle]))
        square = np.einsum("kd,kd->k", local, local)
        across = np.sqrt(np.maximum(square * (1 - _ROUNDING) - height**2, 0.0))
        slack = _ROUNDING * (np.sqrt(square) + self._reach)
        above, beside = height - slack, across - self._radii[triangle] - slack
        return np.asarray(np.maximum(above, 0.0) ** 2 + np.maximum(beside, 0.0) ** 2)

    def _upper_bounds(self, points: Floats) -> Floats:
        """Return (N,) distances to a near triangle."""
        few = min(4, len(self._corners))
        near = self._all.query(points, few)[1].reshape(len(points), few)
        corners = self._corners[near.ravel()]
        weights = nearest_weights(np.repeat(points, few, axis=0), corners)
        gaps = np.linalg.norm(mixed(weights, corners).reshape(len(points), few, 3) - points[:, None], axis=2)
        return np.asarray(gaps.min(axis=1) * (1 + _ROUNDING) + 1e-300)


def _parts(tree: Any, points: Floats, radius: Floats) -> Iterator[slice]:
    """Yield parts of the points that have so many candidates together as may be held at once."""
    ends = np.cumsum(tree.query_ball_point(points, radius, return_length=True))
    start = 0
    while start < len(points):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        yield slice(start, stop)
        start = stop


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


def mixed(weights: Floats, corners: Floats) -> Floats:
    """Return (N, 3) points of triangles (N, 3, 3) by barycentric weights (N, 3)."""
    return np.asarray((weights[..., None] * corners).sum(axis=1))
