"""The surface through a row of rings: what extruding, revolving, sweeping and lofting have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Integers, Material
from lab.geometry.operations.normals import recompute_normals
from lab.geometry.overlays import overlay_from_corners

PLAIN = Material()
SMOOTH = 30.0
"""Degrees: segments of a profile that turn by less belong to one polygroup, and are shaded smooth."""


def skin(
    rings: Floats,
    loops: Sequence[Integers],
    closed_path: bool,
    closed_profile: bool = True,
    cap: Integers | None = None,
    cap_uv: Floats | None = None,
    material: Material = PLAIN,
) -> DynamicMesh:
    """Return triangles between consecutive rings, and caps on the first and the last.

    Points of consecutive rings that lie at one place become one vertex (an axis, the tip of a cone).
    Polygroups: one for each smooth stretch of the profile, then one for each cap. UVs in metres: along the profile and
    along the path on the sides, ``cap_uv`` on caps. Normals: by ``recompute_normals``.

    Args:
        rings: (R, N, 3).
        loops: the points of each loop; seen against the direction of the path, outer loops run counter-clockwise.
        closed_path: join the last ring to the first.
        closed_profile: join the last point of each loop to its first.
        cap: (T, 3) triangles among the N points, counter-clockwise as the loops; None leaves the ends open.
        cap_uv: (N, 2) of caps.
        material: of all triangles.

    Raises:
        GeometryError: all of it is degenerate.
    """
    num_rings, num_points, _ = rings.shape
    along = _lengths(rings, closed_path)
    quads, groups, uv = [], [], []
    offset = 0
    rows = np.arange(num_rings if closed_path else num_rings - 1)
    for loop in loops:
        columns = np.arange(len(loop) if closed_profile else len(loop) - 1)
        row, column = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
        here, there = loop[column], loop[(column + 1) % len(loop)]
        base, above = row * num_points, (row + 1) % num_rings * num_points
        quads.append(np.stack([base + here, base + there, above + there, above + here], axis=1))
        stretch = _stretches(rings[:, loop], closed_profile)
        groups.append(offset + stretch[column])
        offset += int(stretch.max()) + 1
        across = _lengths(np.swapaxes(rings[:, loop], 0, 1), closed_profile)
        u, v = across[[column, column + 1]], along[[row, row + 1]]
        uv.append(np.stack([np.stack([u[a], v[b]], axis=1) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))], axis=1))
    quad, group, corner = np.concatenate(quads), np.concatenate(groups), np.concatenate(uv)
    triangles = quad[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    corners = corner[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 2)
    group = np.repeat(group, 2)
    if cap is not None and not closed_path:
        ends = np.concatenate([cap[:, ::-1], cap + (num_rings - 1) * num_points])
        triangles = np.concatenate([triangles, ends])
        flat = np.zeros((num_points, 2)) if cap_uv is None else cap_uv
        corners = np.concatenate([corners, flat[cap[:, ::-1]], flat[cap]])
        group = np.concatenate([group, np.repeat([offset, offset + 1], len(cap))])
    return _finish(rings, triangles, group, corners, closed_path, material)


def _finish(
    rings: Floats, triangles: Integers, group: Integers, corners: Floats, closed_path: bool, material: Material
) -> DynamicMesh:
    """Return the mesh without doubled vertices and the triangles that vanish with them."""
    num_rings, num_points, _ = rings.shape
    size = max(float(np.ptp(rings.reshape(-1, 3), axis=0).max()), np.finfo(float).tiny)
    ids = np.arange(num_rings * num_points).reshape(num_rings, num_points)
    for k in range(1, num_rings):
        same = np.abs(rings[k] - rings[k - 1]).max(axis=1) <= 1e-9 * size
        ids[k, same] = ids[k - 1, same]
    if closed_path:
        around = (ids == ids[0]).all(axis=0)
        ids[:, around] = ids[0, around]
    used = np.unique(ids)
    triangles = ids.ravel()[triangles]
    fine = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
    if not fine.any():
        raise GeometryError("all rings lie at one place: there is no surface between them")
    triangles = np.searchsorted(used, triangles[fine])
    mesh = DynamicMesh(
        rings.reshape(-1, 3)[used],
        triangles,
        group[fine],
        np.zeros(len(triangles), dtype=np.int64),
        (material,),
        None,
        (overlay_from_corners(corners[fine], triangles),),
    )
    return recompute_normals(mesh)


def _lengths(rows: Floats, closed: bool) -> Floats:
    """Return (R + closed,) the mean way of the points (R, N, 3) from row to row."""
    following = np.roll(rows, -1, axis=0) if closed else rows[1:]
    steps = np.linalg.norm(following - rows[: len(following)], axis=2).mean(axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _stretches(rings: Floats, closed: bool) -> Integers:
    """Return (N,) for each segment of a loop, in rings (R, N, 3), which smooth stretch it belongs to."""
    following = np.roll(rings, -1, axis=1)
    widest = np.linalg.norm(following - rings, axis=2).sum(axis=1).argmax()  # a ring may be a point
    segments = (following - rings)[widest]
    length = np.maximum(np.linalg.norm(segments, axis=1), np.finfo(float).tiny)
    before = np.roll(np.arange(len(segments)), 1)
    cosine = (segments * segments[before]).sum(axis=1) / (length * length[before])
    sharp = cosine < np.cos(np.radians(SMOOTH)) - 1e-9
    if not closed:
        sharp[0] = False
        return np.cumsum(sharp)
    stretch = np.cumsum(sharp)
    if sharp.any():
        stretch[stretch == stretch[-1]] = 0 if not sharp[0] else stretch[-1]
        return stretch - stretch.min()
    return np.zeros(len(segments), dtype=np.int64)
