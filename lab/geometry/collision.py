"""Collision of a static mesh: convex parts that together are about its shape.

By CoACD (Wei et al., "Approximate Convex Decomposition for 3D Meshes with Collision-Aware Concavity and Tree Search",
ACM Transactions on Graphics, 2022), by one convex hull, or by the box along the axes. Parts may overlap, and hold more
than the mesh where they span its concave places: at most about ``threshold`` of its size deep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.measures import bounds, require_watertight, volume
from lab.geometry.mesh import DynamicMesh, Floats, Integers, frozen
from lab.geometry.parameters import Parameters
from lab.geometry.static_mesh import StaticMesh
from lab.geometry.thaw import thaw
from lab.ranges import Ge, Le

ConvexPart = tuple[NDArray[np.float32], NDArray[np.int32]]
"""(n, 3) vertices and (m, 3) triangles, counter-clockwise seen from outside."""


@dataclass(frozen=True, kw_only=True)
class CollisionOptions(Parameters):
    """How collision is made.

    Attributes:
        method: ``parts`` by CoACD, the ``hull`` of all vertices, or the ``box`` along the axes.
        threshold: of the mesh's size: how deep the concave places of a part may be before it is cut.
        max_parts: the most parts; null for as many as the threshold needs.
        max_vertices: of each part.
        seed: of the search.
    """

    method: Literal["parts", "hull", "box"] = "parts"
    threshold: Annotated[float, Ge(0.01), Le(1)] = 0.05
    max_parts: Annotated[int, Ge(1)] | None = None
    max_vertices: Annotated[int, Ge(4)] = 255
    seed: Annotated[int, Ge(0), Le(2147483647)] = 0


PLAIN = CollisionOptions()


def collision_parts(mesh: DynamicMesh, options: CollisionOptions = PLAIN) -> tuple[ConvexPart, ...]:
    """Return convex parts that together are about a mesh.

    Raises:
        GeometryError: a mesh to cut into parts that is not watertight, one without volume, or CoACD is missing.
    """
    if options.method == "box":
        return (_part(*_box(bounds(mesh))),)
    if options.method == "hull":
        return (_part(*_hull(mesh.positions)),)
    require_watertight(mesh, "a mesh to cut into convex parts")
    return tuple(_part(*_hull(vertices)) for vertices in _decomposed(mesh, options))


def with_collision(static: StaticMesh, options: CollisionOptions = PLAIN) -> StaticMesh:
    """Return a static mesh with collision; see ``collision_parts``."""
    return replace(static, collision=collision_parts(thaw(static), options))


def collision_mesh(static: StaticMesh) -> DynamicMesh:
    """Return the collision of a static mesh as one mesh, each part a polygroup: to draw and to measure it."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in static.collision)])
    positions = np.concatenate([np.zeros((0, 3)), *(vertices for vertices, _ in static.collision)])
    triangles = [faces + start for (_, faces), start in zip(static.collision, starts, strict=False)]
    groups = np.repeat(np.arange(len(static.collision)), [len(faces) for _, faces in static.collision])
    faces = np.concatenate([np.zeros((0, 3), dtype=np.int64), *triangles])
    return DynamicMesh(positions, faces, groups, np.zeros_like(groups))


def _decomposed(mesh: DynamicMesh, options: CollisionOptions) -> list[Floats]:
    """Return the vertices of each part that CoACD finds, in an order of their own."""
    coacd = _load()
    coacd.set_log_level("error")
    found = coacd.run_coacd(
        coacd.Mesh(mesh.positions, mesh.triangles.astype(np.int32)),
        threshold=options.threshold,
        max_convex_hull=options.max_parts or -1,
        preprocess_mode="off",  # it is closed; CoACD would make it anew from voxels
        decimate=True,
        max_ch_vertex=options.max_vertices,
        seed=options.seed,
    )
    parts = [np.asarray(vertices, dtype=np.float64) for vertices, _ in found]
    if not parts:
        raise GeometryError("CoACD found no part of the mesh that has a volume")
    return sorted(parts, key=lambda part: tuple(part.mean(axis=0).round(9)))


def _load() -> Any:
    try:
        import coacd
    except ImportError as error:
        raise GeometryError("convex parts need CoACD: pip install 'lab[geometry]'") from error
    return coacd


def _hull(points: Floats) -> tuple[Floats, Integers]:
    """Return the convex hull of points: its corners and its triangles, seen from outside counter-clockwise."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as error:
        raise GeometryError(f"the {len(points)} vertices have no volume, so there is no convex hull") from error
    used, numbers = np.unique(hull.simplices, return_inverse=True)
    triangles = numbers.reshape(-1, 3)
    vertices = points[used]
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    inward = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(axis=1) < 0
    return vertices, np.where(inward[:, None], triangles[:, ::-1], triangles)


def _box(ends: Floats) -> tuple[Floats, Integers]:
    """Return the eight corners of a box and its twelve triangles."""
    if not (ends[1] > ends[0]).all():
        raise GeometryError("the mesh is flat, so its box has no volume")
    return _hull(np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]))


def _part(vertices: Floats, triangles: Integers) -> ConvexPart:
    return frozen(vertices, np.float32), frozen(triangles, np.int32)


def parts_volume(parts: tuple[ConvexPart, ...]) -> float:
    """Return the sum of the parts' volumes in cubic metres; where they overlap it counts twice."""
    total = 0.0
    for vertices, triangles in parts:
        none = np.zeros(len(triangles), dtype=np.int64)
        total += volume(DynamicMesh(vertices.astype(np.float64), triangles.astype(np.int64), none, none))
    return total
