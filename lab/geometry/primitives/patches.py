"""Shapes are made of patches: grids of points with normals and UV, joined where they touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.geometry.mesh import DynamicMesh, Floats, Integers, Material
from lab.geometry.overlays import overlay_from_corners
from lab.geometry.welding import welded

TOUCHING = 1e-13
"""Points closer than this part of a shape's size are one vertex."""


@dataclass(frozen=True)
class Patch:
    """A grid of M x N quads.

    Attributes:
        points: (M + 1, N + 1, 3) metres; seen from outside, the second index grows to the left of the first.
        normals: (M + 1, N + 1, 3) of length 1.
        uvs: (M + 1, N + 1, 2).
        face: patches of the same number are one face; None for a face of its own.
    """

    points: Floats
    normals: Floats
    uvs: Floats
    face: int | None = None


def flat_patch(corner: Floats, along: Floats, across: Floats, steps: tuple[int, int], extent: Floats) -> Patch:
    """Return a parallelogram of quads.

    Args:
        corner: (3,).
        along: (3,) its first side.
        across: (3,) its second side; the outside is where ``along`` x ``across`` points.
        steps: quads along and across.
        extent: (2,) what UV reaches at the far corner.
    """
    u, v = np.meshgrid(np.linspace(0, 1, steps[0] + 1), np.linspace(0, 1, steps[1] + 1), indexing="ij")
    normal = np.cross(along, across)
    points = corner + u[..., None] * along + v[..., None] * across
    normals = np.broadcast_to(normal / np.linalg.norm(normal), points.shape)
    return Patch(points, normals, np.stack([u, v], -1) * extent)


def quad_patch(corners: Floats, extent: Floats, face: int) -> Patch:
    """Return one quad, or a triangle where two corners are one.

    Args:
        corners: (4, 3) counter-clockwise seen from outside.
        extent: (2,) what UV reaches at the third corner; the first is at the origin.
        face: see ``Patch``.
    """
    a, b, c, d = corners
    normal = np.cross(c - a, d - b)
    grid = np.array([[a, d], [b, c]])
    normals = np.broadcast_to(normal / np.linalg.norm(normal), grid.shape)
    return Patch(grid, normals, np.array([[[0, 0], [0, 1]], [[1, 0], [1, 1]]]) * extent, face)


def turned_patch(
    profile: Floats,
    sides: int,
    extent: Floats,
    angles: tuple[float, float] = (0.0, 360.0),
    normals: Floats | None = None,
) -> Patch:
    """Return a profile turned about the z axis.

    Args:
        profile: (N + 1, 2) distances from the axis and heights; the outside is on its right.
        sides: into how many parts the turn is cut.
        extent: (2,) what UV reaches around and along the profile.
        angles: degrees, where the turn begins and ends.
        normals: (N + 1, 2) of the profile, of length 1; those of a straight profile if not given.
    """
    if normals is None:
        along = profile[-1] - profile[0]
        normals = np.broadcast_to(np.array([along[1], -along[0]]) / np.hypot(*along), profile.shape)
    turns = np.radians(np.linspace(*angles, sides + 1))
    directions = np.stack([np.cos(turns), np.sin(turns), 0 * turns], -1)
    if angles[1] - angles[0] == 360:
        directions[-1] = directions[0]
    up = np.array([0.0, 0.0, 1.0])
    points = directions[:, None] * profile[:, :1] + up * profile[:, 1:]
    outward = directions[:, None] * normals[:, :1] + up * normals[:, 1:]
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(profile, axis=0).T))])
    u, v = np.meshgrid(np.linspace(0, 1, sides + 1), lengths / lengths[-1], indexing="ij")
    return Patch(points, outward, np.stack([u, v], -1) * extent)


def cap_patch(profile: Floats, sides: int, extent: Floats, angles: tuple[float, float] = (0.0, 360.0)) -> Patch:
    """Return a level profile turned about the z axis, with UV as seen from above or, for a lower side, from below.

    Args:
        profile: (N + 1, 2) at one height; inward for a side that faces up, outward for one that faces down.
        sides: into how many parts the turn is cut.
        extent: (2,) what UV reaches over the whole disc.
        angles: degrees, where the turn begins and ends.
    """
    patch = turned_patch(profile, sides, extent, angles)
    flat = patch.points[..., :2] / (2 * profile[:, 0].max())
    if profile[-1, 0] > profile[0, 0]:
        flat = flat * [-1, 1]
    return Patch(patch.points, patch.normals, (flat + 0.5) * extent)


def straight(start: tuple[float, float], end: tuple[float, float], steps: int = 1) -> Floats:
    """Return (steps + 1, 2) points of a straight profile."""
    return np.linspace(start, end, steps + 1)


def arc(centre: float, radius: float, degrees: tuple[float, float], steps: int) -> tuple[Floats, Floats]:
    """Return the profile of an arc around (0, centre), and its normals.

    Args:
        centre: the height of its centre, on the axis.
        radius: metres.
        degrees: from the horizontal, where it begins and ends.
        steps: into how many parts it is cut.
    """
    turns = np.radians(np.linspace(*degrees, steps + 1))
    normals = np.stack([np.cos(turns), np.sin(turns)], -1)
    normals[np.abs(normals) < 1e-15] = 0.0
    return normals * radius + [0.0, centre], normals


def quads(rows: int, columns: int) -> Integers:
    """Return (rows * columns, 2, 3) triangles of a grid of points, two for each quad, in the order of the grid."""
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1)
    a, b, c, d = corner, corner + columns + 1, corner + columns + 2, corner + 1
    return np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 1)


def assembled(patches: Sequence[Patch], groups: str, material: Material) -> DynamicMesh:
    """Return the patches as one mesh, welded where they touch; triangles without area (at poles) are left out.

    Args:
        patches: see ``Patch``.
        groups: polygroups by ``shape`` (one), ``face`` (one for each patch) or ``quad``.
        material: of all.
    """
    positions, triangles, normals, uvs, numbers = [], [], [], [], []
    vertices = quad = 0
    for face, patch in enumerate(patches):
        rows, columns = patch.points.shape[0] - 1, patch.points.shape[1] - 1
        pairs = quads(rows, columns)
        flat = pairs.reshape(-1, 3)
        positions.append(patch.points.reshape(-1, 3))
        triangles.append(flat + vertices)
        normals.append(patch.normals.reshape(-1, 3)[flat])
        uvs.append(patch.uvs.reshape(-1, 2)[flat])
        of_quad = np.repeat(np.arange(len(pairs)), 2)
        number = face if patch.face is None else patch.face
        numbers.append({"shape": 0 * of_quad, "face": 0 * of_quad + number, "quad": of_quad + quad}[groups])
        vertices += len(positions[-1])
        quad += len(pairs)
    points, indices = np.vstack(positions), np.vstack(triangles)
    bare = DynamicMesh(points, indices, np.concatenate(numbers), np.arange(len(indices)), (material,))
    whole = welded(bare, TOUCHING * float(np.ptp(points, axis=0).max()))
    kept = whole.slots  # the triangles' own numbers, to find those that are left
    return DynamicMesh(
        whole.positions,
        whole.triangles,
        whole.polygroups,
        0 * kept,
        (material,),
        overlay_from_corners(np.concatenate(normals)[kept], whole.triangles),
        (overlay_from_corners(np.concatenate(uvs)[kept], whole.triangles),),
    )
