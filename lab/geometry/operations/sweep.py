"""Sweeping a polygon along a path, with frames that do not twist.

Frames are carried by discrete parallel transport: at each corner by the least rotation between the directions of its
two sides (Bergou, Wardetzky, Robinson, Audoly, Grinspun, "Discrete Elastic Rods", 2008, section 4.2). At a corner the
profile stands in the plane that halves the angle and is stretched there, so that straight parts keep their
cross-section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Material
from lab.geometry.operations.polygons import Points, make_points, make_polygon
from lab.geometry.operations.shaped import Loop, Shaped
from lab.geometry.operations.skin import PLAIN, skin
from lab.geometry.parameters import Vector
from lab.geometry.tool import Context
from lab.geometry.topology import unit
from lab.ranges import Gt, Le, MinLen

SHARPEST = 0.1
"""The least cosine of half a corner's angle: mitres are at most ten times as wide as the profile."""


def sweep(
    outline: Points,
    path: Points,
    holes: Sequence[Points] = (),
    closed: bool = False,
    twist: float = 0.0,
    taper: float = 1.0,
    up: Sequence[float] | None = None,
    material: Material = PLAIN,
) -> DynamicMesh:
    """Return the solid that a polygon sweeps along a path; its origin stays on the path.

    Polygroups, UVs and normals as ``skin`` makes them; one slot.

    Args:
        outline: (N, 2) the polygon; its y points ``up`` at the start, and y = up, x × y = along the path.
        path: (P, 3) points.
        holes: of the polygon.
        closed: join the last point of the path to the first; the frame's remaining turn is spread over the path.
        twist: degrees that the profile turns about the path, evenly over its length.
        taper: the size of the profile at the end of the path, 1 at its start.
        up: where y points at the start, made perpendicular to the path; None chooses z, or x where the path is upright.
        material: of all triangles.

    Raises:
        GeometryError: a path that stands still or turns back on itself, or a value that cannot be.
    """
    polygon = make_polygon(outline, holes)
    points = make_points(path, 3, 3 if closed else 2, "path")
    if not taper > 0:
        raise GeometryError(f"must be above 0, not {taper:g}", "taper")
    if closed and (taper != 1 or twist % 360):
        raise GeometryError("a closed path needs taper 1 and whole turns", "taper" if taper != 1 else "twist")
    tangents, halves = _directions(points, closed)
    sides = path_frames(tangents, halves, closed, up)
    steps = np.linalg.norm(np.diff(points, axis=0, append=points[:1]), axis=1)
    total = steps.sum() if closed else steps[:-1].sum()
    share = np.concatenate([[0.0], np.cumsum(steps[:-1])]) / total
    turn = np.radians(twist) * share
    ahead = np.cross(tangents, sides)
    x = np.cos(turn)[:, None] * sides + np.sin(turn)[:, None] * ahead
    y = np.cross(tangents, x)
    size = 1 + (taper - 1) * share
    local = size[:, None, None] * (polygon.points[:, 0, None] * x[:, None] + polygon.points[:, 1, None] * y[:, None])
    local = local + _mitre(local, halves)
    return skin(points[:, None] + local, polygon.loops, closed, True, polygon.triangles, polygon.points, material)


def path_frames(tangents: Floats, halves: Floats, closed: bool, up: Sequence[float] | None = None) -> Floats:
    """Return (P, 3) a direction of length 1 perpendicular to each tangent, that turns about it as little as can be.

    Args:
        tangents: (P, 3) of length 1.
        halves: (P, 2, 3) the directions of the path before and after each point.
        closed: spread the turn between the last frame and the first over the path.
        up: what tangent x direction is at the start, about.

    Raises:
        GeometryError: ``up`` is along the path.
    """
    count = len(tangents)
    sides = np.empty_like(tangents)
    upright = np.array([1.0, 0.0, 0.0]) if abs(tangents[0, 2]) > 0.9 else np.array([0.0, 0.0, 1.0])
    chosen = upright if up is None else np.asarray(up, dtype=np.float64)
    first = np.cross(chosen, tangents[0])
    if not np.linalg.norm(first) > 1e-9 * max(float(np.linalg.norm(chosen)), 1e-300):
        raise GeometryError("must not point along the path's start", "up")
    side = first / np.linalg.norm(first)
    for k in range(count):  # each frame follows from the one before
        sides[k] = side
        following = (k + 1) % count
        side = _carried(_carried(side, tangents[k], halves[k, 1]), halves[following, 0], tangents[following])
    if not closed:
        return sides
    gap = np.arctan2(np.cross(sides[0], side) @ tangents[0], sides[0] @ side)
    turn = (-gap * np.arange(count) / count)[:, None]
    return np.asarray(np.cos(turn) * sides + np.sin(turn) * np.cross(tangents, sides))


def _carried(side: Floats, before: Floats, after: Floats) -> Floats:
    """Return a direction perpendicular to one tangent turned with it onto another."""
    turned = side - (after @ side) / (1 + before @ after) * (before + after)
    return np.asarray(turned / np.linalg.norm(turned))


def _directions(points: Floats, closed: bool) -> tuple[Floats, Floats]:
    """Return (P, 3) tangents, the mean of the two sides' directions, and (P, 2, 3) those directions."""
    steps = np.diff(points, axis=0, append=points[:1])
    still = np.flatnonzero(np.linalg.norm(steps if closed else steps[:-1], axis=1) == 0)
    if len(still):
        raise GeometryError("is the same point as the one before", "path", int(still[0] + 1) % len(points))
    after = unit(steps)
    before = np.roll(after, 1, axis=0)
    if not closed:
        before[0], after[-1] = after[0], before[-1]
    total = before + after
    cosine = np.linalg.norm(total, axis=1) / 2
    if cosine.min() < SHARPEST:
        raise GeometryError("the path turns back on itself there", "path", int(cosine.argmin()))
    return unit(total), np.stack([before, after], axis=1)


def _mitre(local: Floats, halves: Floats) -> Floats:
    """Return what stretches profiles (P, N, 3) in the plane that halves each corner's angle."""
    across = halves[:, 1] - halves[:, 0]  # in the plane of the corner, perpendicular to the tangent
    width = np.linalg.norm(across, axis=1) / 2  # the sine of half the turn
    stretch = 1 / np.sqrt(1 - width**2) - 1
    direction = unit(across)
    return np.asarray(stretch[:, None, None] * (local @ direction[..., None]) * direction[:, None])


@dataclass(frozen=True, kw_only=True)
class Sweep(Shaped):
    """Adds the solid that a polygon sweeps along a path, without twist of its own.

    Attributes:
        outline: of the profile, x and y in metres; y points up.
        holes: of the profile.
        path: points in metres.
        closed: join the last point of the path to the first.
        twist: degrees over the whole path.
        taper: the size of the profile at the end.
        up: where the profile's y points at the start; null chooses z, or x where the path is upright.
    """

    word: ClassVar[str] = "sweep"

    outline: Loop
    path: Annotated[tuple[Vector, ...], MinLen(2)]
    holes: tuple[Loop, ...] = ()
    closed: bool = False
    twist: float = 0.0
    taper: Annotated[float, Gt(0), Le(1000)] = 1.0
    up: Vector | None = None

    def shape(self, context: Context) -> DynamicMesh:
        """Return the solid."""
        context.budget.afford(2 * (len(self.path) + 1) * (len(self.outline) + sum(map(len, self.holes))))
        paint = self.material.material()
        return sweep(self.outline, self.path, self.holes, self.closed, self.twist, self.taper, self.up, paint)
