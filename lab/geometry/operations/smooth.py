"""Smoothing: vertices moved towards their neighbours' middle, with or without shrinking.

Taubin, "A Signal Processing Approach to Fair Surface Design" (1995): a step that smooths and one that swells again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import find_edges
from lab.ranges import Ge, Gt, Le

PASS_BAND = 0.1
"""Taubin's k: of waves longer than this (in units of the graph's frequencies, 0 to 2) the size stays."""


def smooth(
    mesh: DynamicMesh,
    strength: float = 0.5,
    iterations: int = 10,
    method: str = "taubin",
    keep_borders: bool = True,
) -> DynamicMesh:
    """Return the mesh with vertices moved towards the middle of their neighbours, all alike, several times.

    Polygroups, slots and UVs stay; normals are computed anew with their seams kept.

    Args:
        mesh: any.
        strength: the part of the way to the middle, above 0 and at most 1.
        iterations: how often.
        method: ``laplacian``, which shrinks, or ``taubin``, which swells again after each step.
        keep_borders: open edges stay where they are.

    Raises:
        GeometryError: a strength or a word that cannot be.
    """
    if not 0 < strength <= 1:
        raise GeometryError(f"must be above 0 and at most 1, not {strength:g}", "strength")
    if method not in ("laplacian", "taubin"):
        raise GeometryError(f"must be laplacian or taubin, not {method!r}", "method")
    from scipy.sparse import coo_matrix

    edges = find_edges(mesh.triangles)
    here, there = np.concatenate([edges.vertices, edges.vertices[:, ::-1]]).T
    count = mesh.num_vertices
    valence = np.bincount(here, minlength=count)
    mean = coo_matrix((1.0 / valence[here], (here, there)), shape=(count, count)).tocsr()
    moving = valence > 0
    if keep_borders:
        moving[edges.vertices[edges.count == 1]] = False
    steps = [strength] if method == "laplacian" else [strength, 1 / (PASS_BAND - 1 / strength)]
    positions = mesh.positions.copy()
    for _ in range(iterations):
        for step in steps:
            positions[moving] += step * (mean @ positions - positions)[moving]
    return refresh_normals(replace(mesh, positions=positions))


@dataclass(frozen=True, kw_only=True)
class Smooth(Tool):
    """Moves vertices towards the middle of their neighbours, several times.

    Attributes:
        strength: the part of the way to the neighbours' middle.
        iterations: how often.
        method: with or without swelling again.
        keep_borders: open edges stay.
    """

    word: ClassVar[str] = "smooth"

    strength: Annotated[float, Gt(0), Le(1)] = 0.5
    iterations: Annotated[int, Ge(1), Le(10000)] = 10
    method: Literal["laplacian", "taubin"] = "taubin"
    keep_borders: bool = True

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the smoothed mesh."""
        return smooth(mesh, self.strength, self.iterations, self.method, self.keep_borders)
