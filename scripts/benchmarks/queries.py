"""How fast a mesh answers questions about points and rays, and is simplified, beside trimesh and what it calls.

Each row: points or rays of a seed in and around a torus of 2 x sides x rings triangles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lab.geometry.measures import volume
from lab.geometry.mesh import empty_mesh
from lab.geometry.operations.simplify import simplify
from lab.geometry.primitives.round import Torus
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.queries import SpatialIndex
from lab.geometry.tool import Context

Size = tuple[int, int]
Step = Callable[[], Any]


def nearest_row(points: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """The distances of points to the surface."""
    from trimesh.proximity import closest_point

    index, other = _made(size)
    where = _places(points)
    gap = np.abs(index.distances(where) - closest_point(other, where)[1]).max()
    return lambda: index.distances(where), lambda: closest_point(other, where)[1], float(gap)


def inside_row(points: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Which points are inside."""
    index, other = _made(size)
    where = _places(points)
    gap = np.mean(index.inside(where) != other.contains(where))
    return lambda: index.inside(where), lambda: other.contains(where), float(gap)


def rays_row(rays: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """The first triangle of each ray, and where it is met: distance, point and weights of the corners."""
    index, other = _made(size)
    where, ways = _places(rays), np.random.default_rng(1).normal(size=(rays, 3))
    ours, theirs = index.cast_rays(where, ways), _met(other, where, ways)
    gap = np.mean(ours.triangles != theirs[0])
    return lambda: index.cast_rays(where, ways), lambda: _met(other, where, ways), float(gap)


def simplify_row(triangles: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """A ball of 2 x sides x rings triangles to a budget; the gap: what more of its volume is lost."""
    import trimesh

    ball = Sphere(sides=size[0], rings=size[1], pivot="centre").apply(empty_mesh(), Context())
    other = trimesh.Trimesh(ball.positions.copy(), ball.triangles.copy(), process=False)
    gap = other.simplify_quadric_decimation(face_count=triangles).volume - volume(simplify(ball, triangles))
    step = partial(simplify, ball, triangles)
    return step, lambda: other.simplify_quadric_decimation(face_count=triangles), max(0.0, gap / volume(ball))


def _made(size: Size) -> tuple[SpatialIndex, Any]:
    import trimesh

    mesh = Torus(tube_sides=size[0], sides=size[1], pivot="centre").apply(empty_mesh(), Context())
    return SpatialIndex(mesh), trimesh.Trimesh(mesh.positions, mesh.triangles, process=False)


def _places(count: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-0.8, 0.8, (count, 3)) * [1, 1, 0.4]


def _met(mesh: Any, where: NDArray[np.float64], ways: NDArray[np.float64]) -> tuple[Any, ...]:
    """Return what ``cast_rays`` does: triangles, and of those met the distances, points and weights."""
    from trimesh.triangles import points_to_barycentric

    triangles = mesh.ray.intersects_first(where, ways)
    hit = triangles >= 0
    normals, corners = mesh.face_normals[triangles[hit]], mesh.triangles[triangles[hit]]
    ways = ways[hit] / np.linalg.norm(ways[hit], axis=1, keepdims=True)
    distances = (normals * (corners[:, 0] - where[hit])).sum(axis=1) / (normals * ways).sum(axis=1)
    points = where[hit] + distances[:, None] * ways
    return triangles, distances, points, points_to_barycentric(corners, points)
