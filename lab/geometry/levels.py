"""Levels of detail: coarser copies of a static mesh, each with what it loses measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.errors import GeometryError
from lab.geometry.bake import bake
from lab.geometry.deviation import Deviation, deviation
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.simplify import simplify
from lab.geometry.static_mesh import StaticMesh
from lab.geometry.thaw import thaw

SHARES = (0.5, 0.25, 0.125)
"""Of the triangles, as UE5's automatic levels have them."""


@dataclass(frozen=True)
class Level:
    """A level of detail.

    Attributes:
        mesh: without levels and collision of its own.
        lost: against the finest mesh.
    """

    mesh: StaticMesh
    lost: Deviation


def make_levels(mesh: DynamicMesh, shares: Sequence[float] = SHARES, keep: str = "borders") -> tuple[Level, ...]:
    """Return coarser meshes, each simplified from the whole one.

    Args:
        mesh: the finest.
        shares: of its triangles that each level may have, falling.
        keep: lines that stay, see ``lab.geometry.operations.simplify``.

    Raises:
        GeometryError: shares that do not fall from below 1, or a budget that is out of reach.
    """
    levels = []
    for index, share in enumerate(shares):
        if not 0 < share < (shares[index - 1] if index else 1):
            raise GeometryError(f"shares fall from below 1 and stay above 0, not {tuple(shares)}", "shares", index)
        try:
            coarse = simplify(mesh, max(4, round(share * mesh.num_triangles)), keep)
        except GeometryError as error:
            raise error.within("shares", index) from error
        levels.append(Level(bake(coarse), deviation(coarse, mesh)))
    return tuple(levels)


def with_levels(static: StaticMesh, shares: Sequence[float] = SHARES, keep: str = "borders") -> StaticMesh:
    """Return a static mesh with levels of detail; see ``make_levels``."""
    return replace(static, levels=tuple(level.mesh for level in make_levels(thaw(static), shares, keep)))
