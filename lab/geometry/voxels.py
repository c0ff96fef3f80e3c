"""A mesh as a grid of full and empty cubes, and back.

A voxel is full if its centre is inside. The volume is wrong by about the surface times a share of the voxel's size, and
comes right as voxels get small. The surface does not: that of a sphere stays 3/2 of what it should be, as each part of
it is stairs. For smooth surfaces use ``lab.geometry.distance_field``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.errors import GeometryError
from lab.geometry.measures import bounds, require_watertight
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers, Material, frozen

LIMIT = 1 << 27
"""The most voxels or points of a grid."""
_ASIDE = (1.37e-7, 2.71e-7)  # of a voxel: columns pass beside edges and vertices that lie on round numbers
_BLOCK = 1 << 22  # pairs of triangles and columns that are held at once


@dataclass(frozen=True)
class Voxels:
    """Full and empty cubes; voxel (i, j, k) goes from ``origin + size * (i, j, k)`` to that of the next.

    Attributes:
        full: (X, Y, Z) bool.
        origin: (3,) float64 metres.
        size: metres.
    """

    full: Flags
    origin: Floats
    size: float

    @property
    def volume(self) -> float:
        """Cubic metres of the full voxels."""
        return float(self.full.sum()) * self.size**3


def to_voxels(mesh: DynamicMesh, size: float) -> Voxels:
    """Return the voxels whose centres are inside a watertight mesh; one empty voxel is around them.

    Where parts overlap, what any of them encloses is inside.

    Args:
        mesh: any that is closed.
        size: metres.

    Raises:
        GeometryError: the mesh is not watertight, or the grid would be too large.
    """
    require_watertight(mesh, "a mesh to fill with voxels")
    origin, shape = grid_around(mesh, size, 1.0)
    changes = np.zeros((shape[0], shape[1], shape[2] + 1), dtype=np.int32)
    corners = (mesh.positions[mesh.triangles] - origin) / size - 0.5  # centres lie on whole numbers
    corners[..., :2] -= _ASIDE
    for columns, heights, signs in _crossings(corners, shape):
        below = np.clip(np.ceil(heights).astype(np.int64), 0, shape[2])  # of how many centres a crossing is above
        np.add.at(changes, (columns[:, 0], columns[:, 1], below), signs)
    turns = changes.sum(axis=2, keepdims=True) - np.cumsum(changes, axis=2)[..., :-1]
    return Voxels(frozen(turns > 0, np.bool_), frozen(origin, np.float64), float(size))


def from_voxels(voxels: Voxels, material: Material = Material()) -> DynamicMesh:  # noqa: B008 frozen
    """Return the surface of the full voxels, flat shaded: two triangles for each side that an empty voxel is beside.

    The six directions are the polygroups: 2 axis, and 1 more for the far side.
    """
    padded = np.pad(voxels.full, 1)
    size = np.array(padded.shape) + 1
    quads, groups = [], []
    for axis in range(3):
        step = np.diff(padded.astype(np.int8), axis=axis)  # -1: full, then empty
        for group, value in ((2 * axis, 1), (2 * axis + 1, -1)):
            at = np.argwhere(step == value)
            at[:, axis] += 1  # the corner that the side and the voxel behind it share
            quads.append(_sides(at, axis, value < 0))
            groups.append(np.full(len(at), group))
    corners = np.concatenate(quads)  # (n, 4, 3) whole numbers
    used, numbers = np.unique(np.ravel_multi_index(tuple(np.moveaxis(corners, 2, 0)), size), return_inverse=True)
    places = np.stack(np.unravel_index(used, size), axis=1) - 1
    quad = numbers.reshape(-1, 4)
    triangles = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
    sides = np.repeat(np.concatenate(groups), 2)
    return DynamicMesh(voxels.origin + voxels.size * places, triangles, sides, np.zeros_like(sides), (material,))


def count_sides(voxels: Voxels) -> int:
    """Return how many squares the surface of the full voxels has."""
    padded = np.pad(voxels.full, 1)
    return sum(int(np.diff(padded, axis=axis).sum()) for axis in range(3))  # of bool: where neighbours differ


def grid_around(mesh: DynamicMesh, size: float, margin: float) -> tuple[Floats, tuple[int, int, int]]:
    """Return where a grid around a mesh begins, and how many cells it has along x, y, z.

    Args:
        mesh: with vertices.
        size: of a cell, metres.
        margin: cells around the mesh, at least.

    Raises:
        GeometryError: the size is not above 0, or the grid would have more than ``LIMIT`` cells.
    """
    if not size > 0:
        raise GeometryError(f"must be above 0, not {size:g}", "size")
    low, high = bounds(mesh)
    cells = np.maximum(np.ceil((high - low) / size - 1e-9), 1) + 2 * np.ceil(margin)
    if cells.prod() > LIMIT:
        least = float(((high - low).prod() / LIMIT) ** (1 / 3))
        raise GeometryError(f"{size:g} makes {cells.prod():.0f} cells of {LIMIT}: should be above {least:.3g}", "size")
    origin: Floats = (low + high) / 2 - cells * size / 2
    return origin, tuple(int(count) for count in cells)  # type: ignore[return-value]


def _crossings(corners: Floats, shape: tuple[int, int, int]) -> list[tuple[Integers, Floats, Integers]]:
    """Return where triangles (F, 3, 3) cross columns of whole x and y: columns (n, 2), heights, and +1 going out."""
    a, b, c = np.moveaxis(corners, 1, 0)
    area = _cross(b - a, c - a)
    low = np.clip(np.ceil(corners[..., :2].min(axis=1)), 0, np.array(shape[:2])).astype(np.int64)
    high = np.clip(np.floor(corners[..., :2].max(axis=1)) + 1, 0, np.array(shape[:2])).astype(np.int64)
    spans = np.maximum(high - low, 0)
    counts = np.where(area != 0, spans.prod(axis=1), 0)
    found, ends = [], np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
        triangle = np.repeat(np.arange(start, stop), counts[start:stop])
        within = np.arange(len(triangle)) - np.repeat(
            ends[start:stop] - counts[start:stop] - before, counts[start:stop]
        )
        columns = low[triangle] + np.stack(np.divmod(within, np.maximum(spans[triangle, 1], 1)), axis=1)
        first, second, third = (point[triangle, :2] - columns for point in (a, b, c))
        weights = np.stack([_cross(second, third), _cross(third, first), _cross(first, second)], axis=1)
        hit = (weights * np.sign(area[triangle])[:, None] > 0).all(axis=1)
        triangle, weights = triangle[hit], weights[hit] / area[triangle[hit], None]
        heights = (weights * corners[triangle, :, 2]).sum(axis=1)
        found.append((columns[hit], heights, np.sign(area[triangle]).astype(np.int64)))
        start = stop
    return found


def _cross(first: Floats, second: Floats) -> Floats:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])


def _sides(corner: Integers, axis: int, far: bool) -> Integers:
    """Return (n, 4, 3) corners of squares across an axis, counter-clockwise seen from its far or its near side."""
    first, second = np.eye(3, dtype=np.int64)[[(axis + 1) % 3, (axis + 2) % 3]]
    around = np.stack([np.zeros(3, dtype=np.int64), first, first + second, second])
    return corner[:, None] + (around if far else around[::-1])
