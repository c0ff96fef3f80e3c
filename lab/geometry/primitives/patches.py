"""Shapes are made of patches: grids of points with normals and UV, joined where they touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.geometry.mesh import DynamicMesh, Floats, Integers, Material
from lab.geometry.overlays import overlay_from_corners
from lab.geometry.welding import welded

TOUCHING = 1e-9
"""Points closer than this part of a shape's size are one vertex."""


@dataclass(frozen=True)
class Patch:
    """A grid of M x N quads.

    Attributes:
        points: (M + 1, N + 1, 3) metres; seen from outside, the second index grows to the left of the first.
        normals: (M + 1, N + 1, 3) of length 1.
        uvs: (M + 1, N + 1, 2).
    """

    points: Floats
    normals: Floats
    uvs: Floats


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
        numbers.append({"shape": 0 * of_quad, "face": 0 * of_quad + face, "quad": of_quad + quad}[groups])
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
