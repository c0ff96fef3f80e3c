"""Polygons of files cut into triangles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import Floats, Integers


def fans(polygons: Sequence[np.ndarray] | np.ndarray, positions: Floats, name: str) -> tuple[Integers, Integers]:
    """Return triangles of polygons, each a fan around its first corner, and the polygon of each triangle.

    Args:
        polygons: vertices of each, counter-clockwise.
        positions: (V, 3).
        name: of the file, for errors.

    Raises:
        GeometryError: a vertex is not there, a polygon has fewer than three corners, or a fan would leave it, since it
            is not convex.
    """
    if isinstance(polygons, np.ndarray) and polygons.ndim == 2:
        rows = [polygons.astype(np.int64)]
        numbers = [np.arange(len(polygons))]
    else:
        sizes = np.array([len(polygon) for polygon in polygons], dtype=np.int64)
        if (sizes < 3).any():
            raise GeometryError(f"{name}: face {int(np.argmax(sizes < 3))} has {int(sizes[sizes < 3][0])} corners")
        numbers = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
        rows = [np.array([polygons[index] for index in group.tolist()], dtype=np.int64) for group in numbers]
    triangles, of_polygon = [np.zeros((0, 3), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for group, corners in zip(numbers, rows, strict=True):
        wrong = ((corners < 0) | (corners >= len(positions))).any(1)
        if wrong.any():
            face = int(group[np.argmax(wrong)])
            raise GeometryError(f"{name}: face {face} has a vertex that is not among the {len(positions)}")
        count = corners.shape[1] - 2
        if count > 1:
            _refuse_concave(corners, positions, group, name)
        fan = np.stack([np.repeat(corners[:, :1], count, 1), corners[:, 1:-1], corners[:, 2:]], -1)
        triangles.append(fan.reshape(-1, 3))
        of_polygon.append(np.repeat(group, count))
    order = np.argsort(np.concatenate(of_polygon), kind="stable")
    return np.concatenate(triangles)[order], np.concatenate(of_polygon)[order]


def _refuse_concave(corners: Integers, positions: Floats, group: Integers, name: str) -> None:
    points = positions[corners]
    before, after = points - np.roll(points, 1, axis=1), np.roll(points, -1, axis=1) - points
    turns = np.cross(before, after)
    normals = turns.sum(1, keepdims=True)
    bent = (turns * normals).sum(-1) < -1e-9 * (normals**2).sum(-1)
    if bent.any():
        face = int(group[np.argmax(bent.any(1))])
        raise GeometryError(f"{name}: face {face} of {corners.shape[1]} corners is not convex; cut it into triangles")
