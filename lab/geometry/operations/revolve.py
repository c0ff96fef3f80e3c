"""Revolving a profile around the z axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Material
from lab.geometry.operations.polygons import Points, make_points, make_polygon
from lab.geometry.operations.shaped import Polyline, Shaped
from lab.geometry.operations.skin import PLAIN, skin
from lab.geometry.tool import Context
from lab.ranges import Ge, Le


def revolve(
    profile: Points,
    closed: bool = True,
    angle: float = 360.0,
    steps: int = 32,
    material: Material = PLAIN,
) -> DynamicMesh:
    """Return the surface that a profile sweeps around the z axis, counter-clockwise from +x.

    A closed profile makes a solid, with caps where the angle is below 360; an open one makes a solid after a whole
    turn if both its ends are on the axis, and else an open surface. Polygroups, UVs and normals as ``skin`` makes
    them; one slot.

    Args:
        profile: (N, 2) points (r, z), r at least 0. The outside of an open one is to its right.
        closed: join the last point to the first.
        angle: degrees, above 0.
        steps: of the whole angle.
        material: of all triangles.

    Raises:
        GeometryError: a point left of the axis, a profile that crosses itself, an angle or steps that cannot be.
    """
    if not 0 < angle <= 360:
        raise GeometryError(f"must be above 0 and at most 360 degrees, not {angle:g}", "angle")
    around = angle == 360
    if steps < (3 if around else 1):
        raise GeometryError(f"must be at least {3 if around else 1}, not {steps}", "steps")
    if closed:
        polygon = make_polygon(profile, name="profile")
        points, loops, cap = polygon.points, polygon.loops, polygon.triangles
    else:
        points = make_points(profile, 2, 2, "profile")
        loops, cap = (np.arange(len(points)),), None
    left = np.flatnonzero(points[:, 0] < 0)
    if len(left):
        raise GeometryError(f"r is below 0: {points[left[0], 0]:g}; the profile stands right of the axis", "profile")
    # The rings go clockwise, so that profile x height x path is right-handed.
    turns = -np.radians(angle) * np.arange(steps + (not around)) / steps + (0.0 if around else np.radians(angle))
    rings = np.empty((len(turns), len(points), 3))
    rings[:, :, 0] = np.cos(turns)[:, None] * points[:, 0]
    rings[:, :, 1] = np.sin(turns)[:, None] * points[:, 0]
    rings[:, :, 2] = points[:, 1]
    return skin(rings, loops, around, closed, cap, points if closed else None, material)


@dataclass(frozen=True, kw_only=True)
class Revolve(Shaped):
    """Adds what a profile sweeps around the z axis.

    Attributes:
        profile: points r, z in metres.
        closed: join the last point to the first.
        angle: degrees.
        steps: of the whole angle.
    """

    word: ClassVar[str] = "revolve"

    profile: Polyline
    closed: bool = True
    angle: float = 360.0
    steps: Annotated[int, Ge(1), Le(100000)] = 32

    def shape(self, context: Context) -> DynamicMesh:
        """Return the shape at the origin."""
        context.budget.afford(2 * (self.steps + 1) * len(self.profile))
        return revolve(self.profile, self.closed, self.angle, self.steps, self.material.material())
