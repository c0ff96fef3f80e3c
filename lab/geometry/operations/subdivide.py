"""Subdivision: every triangle into four, flat or by Loop's masks, and edges cut until they are short enough.

Loop, "Smooth Subdivision Surfaces Based on Triangles" (1987); creases as in Hoppe et al., "Piecewise Smooth Surface
Reconstruction" (1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Flags, Floats
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.operations.working import WorkingMesh
from lab.geometry.primitives.primitive import Length
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import Edges, find_edges
from lab.ranges import Ge, Le


def subdivide(mesh: DynamicMesh, levels: int = 1) -> DynamicMesh:
    """Return the mesh with every triangle cut into four at the middles of its edges, so many times; its shape stays.

    The parts keep polygroup and slot; UVs and normals are interpolated, seams stay.

    Raises:
        GeometryError: fewer than 0 levels.
    """
    if levels < 0:
        raise GeometryError(f"must be at least 0, not {levels}", "levels")
    work = WorkingMesh.of(mesh)
    for _ in range(levels):
        work.split(np.ones(work.triangles.shape, dtype=bool))
    return work.mesh()


def subdivide_loop(mesh: DynamicMesh, levels: int = 1, creases: str = "borders") -> DynamicMesh:
    """Return the mesh subdivided by Loop's scheme: towards a smooth surface.

    The parts keep polygroup and slot; UVs are interpolated as on the flat triangles; normals are computed anew with
    their seams kept.

    Args:
        mesh: any; edges of more than two triangles are creases.
        levels: each cuts every triangle into four.
        creases: edges that stay sharp: open ``borders``, or also those between polygroups (``groups``).

    Raises:
        GeometryError: fewer than 0 levels, or an unknown word.
    """
    if levels < 0:
        raise GeometryError(f"must be at least 0, not {levels}", "levels")
    if creases not in ("borders", "groups"):
        raise GeometryError(f"must be borders or groups, not {creases!r}", "creases")
    work = WorkingMesh.of(mesh)
    for _ in range(levels):
        edges = find_edges(work.triangles)
        sharp = ~edges.inner
        if creases == "groups":
            group = mesh.polygroups[work.source]
            sharp[edges.inner] = group[edges.pairs[:, 0]] != group[edges.pairs[:, 1]]
        positions = _loop_positions(work, edges, sharp)
        work.split(np.ones(work.triangles.shape, dtype=bool))
        work.values[0] = positions
    return refresh_normals(work.mesh())


def subdivide_to_length(mesh: DynamicMesh, length: float, most: int = 10_000_000) -> DynamicMesh:
    """Return the mesh with edges halved until none is longer than a length; its shape stays.

    Polygroups, slots, UVs, normals as in ``subdivide``.

    Args:
        mesh: any.
        length: metres.
        most: triangles; what would be more is refused.

    Raises:
        GeometryError: a length that is not above 0, or too many triangles.
    """
    if not length > 0:
        raise GeometryError(f"must be above 0, not {length:g}", "length")
    work = WorkingMesh.of(mesh)
    while True:
        corners = work.positions[work.triangles]
        sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        marks = sides > length * (1 + 1e-12)
        if not marks.any():
            return work.mesh()
        total = len(marks) + int(marks.sum())
        if total > most:
            raise GeometryError(f"{length:g} makes more than {most} triangles", "length")
        work.split(marks)


def _loop_positions(work: WorkingMesh, edges: Edges, sharp: Flags) -> Floats:
    """Return (V + E, 3) the positions of Loop's masks: of vertices, then of the edges' middles."""
    positions, count = work.positions, len(work.positions)
    low, high = edges.vertices.T
    middles = (positions[low] + positions[high]) / 2
    smooth = edges.inner & ~sharp
    triangle, k = np.divmod(edges.halves[smooth], 3)
    apex = positions[work.triangles[triangle, (k + 2) % 3]]
    middles[smooth] = 0.75 * middles[smooth] + apex.sum(axis=1) / 8
    valence = np.bincount(edges.vertices.ravel(), minlength=count)
    ring = _sum_over(edges.vertices, positions, count)
    ways = np.maximum(valence, 1)
    weight = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / ways) / 4) ** 2) / ways
    moved = (1 - valence * weight)[:, None] * positions + weight[:, None] * ring
    creases = np.bincount(edges.vertices[sharp].ravel(), minlength=count)
    along = _sum_over(edges.vertices[sharp], positions, count)
    moved = np.where((creases == 2)[:, None], 0.75 * positions + along / 8, moved)
    moved = np.where(((creases > 2) | (valence == 0))[:, None], positions, moved)
    return np.concatenate([moved, middles])


def _sum_over(pairs: np.ndarray, positions: Floats, count: int) -> Floats:
    """Return (V, 3) the sum of the other ends' positions."""
    here, there = np.concatenate([pairs, pairs[:, ::-1]]).T
    return np.stack([np.bincount(here, positions[there, k], minlength=count) for k in range(3)], axis=1)


@dataclass(frozen=True, kw_only=True)
class Subdivide(Tool):
    """Cuts triangles: into four, by Loop's scheme, or until edges are short.

    Attributes:
        method: flat, by Loop's masks, or by the length of edges.
        levels: of the first two.
        creases: of ``loop``.
        length: of ``length``: the longest edge, metres.
    """

    word: ClassVar[str] = "subdivide"

    method: Literal["flat", "loop", "length"] = "flat"
    levels: Annotated[int, Ge(0), Le(12)] = 1
    creases: Literal["borders", "groups"] = "borders"
    length: Length | None = None

    def check(self) -> None:
        """Refuse a length where none is used, and none where one is."""
        if (self.method == "length") != (self.length is not None):
            wanted = "is needed" if self.method == "length" else "has no meaning"
            raise GeometryError(f"{wanted} with method: {self.method}", "length")

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with more triangles."""
        if self.length is not None:
            return subdivide_to_length(mesh, self.length, context.budget.triangles)
        context.budget.afford(mesh.num_triangles * 4**self.levels)
        if self.method == "loop":
            return subdivide_loop(mesh, self.levels, self.creases)
        return subdivide(mesh, self.levels)
