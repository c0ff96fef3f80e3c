"""A mesh as signed distances on a grid, and back by tetrahedra.

The surface comes back where the distances, taken as linear along the edges of the grid, are 0: smooth parts lie wrong
by about the square of the spacing over the radius of curvature; sharp edges and what is thinner than the spacing are
cut off. UVs, normals, polygroups and materials are lost. The result is watertight whatever the distances are, as every
cell is cut into the same six tetrahedra (Kuhn's), which fit those of its neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers, Material, frozen
from lab.geometry.queries import SpatialIndex
from lab.geometry.voxels import grid_around
from lab.geometry.welding import welded

_BLOCK = 8  # points along the side of the largest block that is asked for once
_NEVER = 1e-7  # of a spacing: a distance nearer to the level than this is taken as just outside

_CUTS = {
    1: [[[0, 1], [0, 2], [0, 3]]],
    2: [[[0, 2], [0, 3], [1, 3]], [[0, 2], [1, 3], [1, 2]]],
    3: [[[0, 3], [1, 3], [2, 3]]],
}
"""Of a tetrahedron with so many points inside, which come first: its triangles, each corner between two points."""


@dataclass(frozen=True)
class DistanceField:
    """Distances at the points of a grid; point (i, j, k) is at ``origin + spacing * (i, j, k)``.

    Attributes:
        values: (X, Y, Z) float64 metres to the surface, negative inside.
        origin: (3,) float64 metres.
        spacing: metres.
    """

    values: Floats
    origin: Floats
    spacing: float


def to_distance_field(
    mesh: DynamicMesh, spacing: float, margin: float = 0.0, level: float | None = None
) -> DistanceField:
    """Return the signed distances of a watertight mesh at the points of a grid around it.

    Args:
        mesh: closed, and not crossing itself.
        spacing: metres between points.
        margin: metres around the mesh that the grid covers, for a surface farther out.
        level: where the surface will be taken: distances that differ from it by more than two spacings are then those
            of a point nearby, on the same side of it, which saves most of the time. None: all are exact.

    Raises:
        GeometryError: the mesh is not watertight, or the grid would be too large.
    """
    origin, cells = grid_around(mesh, spacing, 1.0 + margin / spacing if spacing > 0 else 1.0)
    index, shape = SpatialIndex(mesh), (cells[0] + 1, cells[1] + 1, cells[2] + 1)

    def distances(places: Floats) -> Floats:
        return index.signed_distances(origin + spacing * places)

    if level is None:
        places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
        values = distances(places.astype(np.float64)).reshape(shape)
    else:
        values = _near_level(distances, shape, level, spacing)
    return DistanceField(frozen(values, np.float64), frozen(origin, np.float64), float(spacing))


def _near_level(
    distances: Callable[[Floats], Floats], shape: tuple[int, int, int], level: float, spacing: float
) -> Floats:
    """Return distances at grid points, block by block: a block too far from the level takes that of its middle.

    A distance changes by no more than the way gone, so all points of such a block are on one side of the level.
    """
    values = np.empty(shape)
    blocks = np.stack(np.meshgrid(*(np.arange(0, size, _BLOCK) for size in shape), indexing="ij"), axis=-1)
    blocks, side = blocks.reshape(-1, 3), _BLOCK
    while side > 1:
        middle = distances((blocks + (side - 1) / 2).astype(np.float64))
        reach = spacing * (side - 1) / 2 * 3**0.5
        near = np.abs(middle - level) <= reach + 2 * spacing
        _fill(values, blocks[~near], side, middle[~near])
        side //= 2
        halves = side * np.array(list(itertools.product((0, 1), repeat=3)))
        blocks = (blocks[near, None] + halves).reshape(-1, 3)
        blocks = blocks[(blocks < shape).all(axis=1)]
    values[tuple(blocks.T)] = distances(blocks.astype(np.float64))
    return values


def _fill(values: Floats, blocks: Integers, side: int, content: Floats) -> None:
    """Write one value to all points of each block that lie in the grid."""
    steps = np.array(list(itertools.product(range(side), repeat=3)))
    places = (blocks[:, None] + steps).reshape(-1, 3)
    inside = (places < values.shape).all(axis=1)
    values[tuple(places[inside].T)] = np.repeat(content, len(steps))[inside]


def from_distance_field(
    field: DistanceField,
    level: float = 0.0,
    material: Material = Material(),  # noqa: B008 frozen
) -> DynamicMesh:
    """Return the surface where the distance is a level: 0 for the mesh itself, more for a rounded one around it.

    Raises:
        GeometryError: the surface is not there, or would leave the grid.
    """
    values = field.values - level
    inside = values < 0
    if not inside.any():
        raise GeometryError(f"no point of the grid is inside {level:g} metres", "level")
    if any(np.take(inside, end, axis=axis).any() for axis in range(3) for end in (0, -1)):
        raise GeometryError(f"the surface at {level:g} metres leaves the grid: give the field a larger margin", "level")
    values = np.where(np.abs(values) < _NEVER * field.spacing, _NEVER * field.spacing, values)
    tetrahedra = _cut_tetrahedra(values)
    flat, signs = values.reshape(-1), values.reshape(-1)[tetrahedra] < 0
    pairs, facing = _triangles_of(tetrahedra, values.shape, signs)
    keys = np.sort(pairs.reshape(-1, 2), axis=1)
    _, first, corner = np.unique(keys[:, 0] * len(flat) + keys[:, 1], return_index=True, return_inverse=True)
    low, high = keys[first].T
    share = flat[low] / (flat[low] - flat[high])
    where = [np.stack(np.unravel_index(end, values.shape), axis=1).astype(np.float64) for end in (low, high)]
    positions = field.origin + field.spacing * (where[0] + share[:, None] * (where[1] - where[0]))
    triangles = corner.reshape(-1, 3)
    a, b, c = np.moveaxis(positions[triangles], 1, 0)
    turned = (np.cross(b - a, c - a) * facing).sum(axis=1) < 0
    triangles = np.where(turned[:, None], triangles[:, ::-1], triangles)
    zeros = np.zeros(len(triangles), dtype=np.int64)
    return welded(DynamicMesh(positions, triangles, zeros, zeros, (material,)), 1e-6 * field.spacing)


def _cut_tetrahedra(values: Floats) -> Integers:
    """Return (n, 4) points of the tetrahedra that the surface passes: of each cell, six along its diagonal."""
    shape = values.shape
    number = np.arange(values.size).reshape(shape)
    inside = values < 0
    corners = list(itertools.product((0, 1), repeat=3))
    views = [
        tuple(slice(step, size - 1 + step) for step, size in zip(corner, shape, strict=True)) for corner in corners
    ]
    count = sum(inside[view].astype(np.int8) for view in views)
    cut = (count > 0) & (count < 8)
    ids = np.stack([number[view][cut] for view in views], axis=1)  # (cells, 8)
    paths = []
    for axes in itertools.permutations(range(3)):
        corner, path = [0, 0, 0], [0]
        for axis in axes:
            corner[axis] = 1
            path.append(corners.index((corner[0], corner[1], corner[2])))
        paths.append(path)
    tetrahedra = ids[:, paths].reshape(-1, 4)
    signs = inside.reshape(-1)[tetrahedra]
    return np.asarray(tetrahedra[signs.any(axis=1) & ~signs.all(axis=1)])


def _triangles_of(tetrahedra: Integers, shape: tuple[int, ...], inside: Flags) -> tuple[Integers, Floats]:
    """Return the triangles in cut tetrahedra: (n, 3, 2) the two points around each corner, and (n, 3) a way outward."""
    order = np.argsort(~inside, axis=1, kind="stable")
    points = np.take_along_axis(tetrahedra, order, axis=1)  # those inside first
    count = inside.sum(axis=1)
    places = np.stack(np.unravel_index(points, shape), axis=-1).astype(np.float64)
    sides, ways = [], []
    for number, triangles in _CUTS.items():
        chosen = count == number
        outward = places[chosen, number:].mean(axis=1) - places[chosen, :number].mean(axis=1)
        for triangle in triangles:
            sides.append(points[chosen][:, triangle])
            ways.append(outward)
    return np.concatenate(sides), np.concatenate(ways)
