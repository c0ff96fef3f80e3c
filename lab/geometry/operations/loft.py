"""Lofting: the surface through a row of outlines in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Material
from lab.geometry.operations.fill import area_vector, fill_holes
from lab.geometry.operations.polygons import Points, make_points
from lab.geometry.operations.shaped import Shaped
from lab.geometry.operations.skin import PLAIN, skin
from lab.geometry.parameters import Vector
from lab.geometry.tool import Context
from lab.ranges import MinLen


def loft(
    outlines: Sequence[Points], closed: bool = False, caps: bool = True, material: Material = PLAIN
) -> DynamicMesh:
    """Return the surface through outlines, one after the other; straight between them.

    The first points are joined, the second points, and so on. If the numbers of points differ, each outline is cut
    anew, evenly along its length, to the largest number, and begun where it twists least. Outlines run in one
    direction: all are turned if they would face inwards. Polygroups, UVs and normals
    as ``skin`` makes them; one slot.

    Args:
        outlines: (N, 3) points each.
        closed: join the last outline to the first.
        caps: close the ends, where not ``closed``; each end is then flat, about.
        material: of all triangles.

    Raises:
        GeometryError: too few outlines or points, or an end that cannot be capped.
    """
    if len(outlines) < (3 if closed else 2):
        raise GeometryError(f"must be at least {3 if closed else 2}, not {len(outlines)}", "outlines")
    rows = [make_points(outline, 3, 3, "outlines", i) for i, outline in enumerate(outlines)]
    count = max(map(len, rows))
    same = all(len(row) == count for row in rows)
    rings = np.stack(rows if same else [_resampled(row, count) for row in rows])
    areas = np.stack([area_vector(ring) for ring in rings])
    centres = rings.mean(axis=1)
    way = np.diff(centres, axis=0, append=centres[:1] if closed else centres[-1:])
    if (areas * way).sum() < 0:
        rings = rings[:, ::-1]
    if not same:
        rings = _aligned(rings)
    mesh = skin(rings, (np.arange(count),), closed, material=material)
    return mesh if closed or not caps else fill_holes(mesh)


def _resampled(ring: Floats, count: int) -> Floats:
    """Return (count, 3) points at even distances along a closed loop (N, 3), from its first point."""
    around = np.concatenate([ring, ring[:1]])
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(around, axis=0), axis=1))])
    at = np.arange(count) * (way[-1] / count)
    return np.stack([np.interp(at, way, around[:, k]) for k in range(3)], axis=1)


def _aligned(rings: Floats) -> Floats:
    """Return rings (R, N, 3), each begun at the point for which it lies nearest to the one before."""
    result = [rings[0]]
    for ring in rings[1:]:
        local, before = ring - ring.mean(axis=0), result[-1] - result[-1].mean(axis=0)
        likeness = [(np.roll(local, -k, axis=0) * before).sum() for k in range(len(ring))]
        result.append(np.roll(ring, -int(np.argmax(likeness)), axis=0))
    return np.stack(result)


@dataclass(frozen=True, kw_only=True)
class Loft(Shaped):
    """Adds the surface through outlines, one after the other.

    Attributes:
        outlines: loops of points in metres.
        closed: join the last outline to the first.
        caps: close the ends.
    """

    word: ClassVar[str] = "loft"

    outlines: Annotated[tuple[Annotated[tuple[Vector, ...], MinLen(3)], ...], MinLen(2)]
    closed: bool = False
    caps: bool = True

    def shape(self, context: Context) -> DynamicMesh:
        """Return the shape at the origin."""
        context.budget.afford(2 * (len(self.outlines) + 1) * max(map(len, self.outlines)))
        return loft(self.outlines, self.closed, self.caps, self.material.material())
