"""Levels of detail: coarser copies of a static mesh, each with what it loses measured.

A level that would lose more than is allowed is refused: a box of 12 triangles has no coarser level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.errors import GeometryError
from lab.geometry.bake import bake
from lab.geometry.deviation import Deviation, deviation
from lab.geometry.measures import bounds
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.simplify import simplify
from lab.geometry.static_mesh import StaticMesh
from lab.geometry.thaw import thaw

SHARES = (0.5, 0.25, 0.125)
"""Of the triangles: each level half of the one before."""
MAX_ERROR = 0.05
"""Of the diagonal of a mesh's box."""


@dataclass(frozen=True)
class Level:
    """A level of detail.

    Attributes:
        mesh: without levels and collision of its own.
        lost: against the finest mesh.
    """

    mesh: StaticMesh
    lost: Deviation


def make_levels(
    mesh: DynamicMesh, shares: Sequence[float] = SHARES, keep: str = "borders", max_error: float = MAX_ERROR
) -> tuple[Level, ...]:
    """Return coarser meshes, each simplified from the whole one.

    Args:
        mesh: the finest.
        shares: of its triangles that each level may have, falling.
        keep: lines that stay, see ``lab.geometry.operations.simplify``.
        max_error: of the diagonal of the mesh's box: how far the surface may move (root mean square of a vertex).

    Raises:
        GeometryError: shares that do not fall from below 1, or a budget that is out of reach.
    """
    low, high = bounds(mesh)
    error = max_error * float(np.linalg.norm(high - low))
    levels = []
    for index, share in enumerate(shares):
        if not 0 < share < (shares[index - 1] if index else 1):
            raise GeometryError(f"shares fall from below 1 and stay above 0, not {tuple(shares)}", "shares", index)
        try:
            coarse = simplify(mesh, max(4, round(share * mesh.num_triangles)), keep, error)
        except GeometryError as failure:
            raise failure.within("shares", index) from failure
        levels.append(Level(bake(coarse), deviation(coarse, mesh)))
    return tuple(levels)


def with_levels(
    static: StaticMesh, shares: Sequence[float] = SHARES, keep: str = "borders", max_error: float = MAX_ERROR
) -> StaticMesh:
    """Return a static mesh with levels of detail; see ``make_levels``."""
    return replace(static, levels=tuple(level.mesh for level in make_levels(thaw(static), shares, keep, max_error)))
