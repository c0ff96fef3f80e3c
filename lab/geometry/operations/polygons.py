"""Polygons in the plane, with holes: what is extruded, revolved and swept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import Floats, Integers
from lab.geometry.operations.libraries import load_manifold, load_shapely

Points = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Polygon:
    """A region of the plane.

    Attributes:
        points: (N, 2) float64 metres, those of the outer loop first.
        loops: the points of each loop in order: the outer one counter-clockwise, holes clockwise.
        triangles: (T, 3) int64, counter-clockwise.
    """

    points: Floats
    loops: tuple[Integers, ...]
    triangles: Integers

    @property
    def area(self) -> float:
        """Square metres, holes taken off."""
        return sum(signed_area(self.points[loop]) for loop in self.loops)

    def centroid(self) -> Floats:
        """Return (2,) the centre of mass."""
        corners = self.points[self.triangles]
        edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        weight = edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0]
        return (corners.mean(axis=1) * weight[:, None]).sum(axis=0) / weight.sum()


def make_polygon(outline: Points, holes: Sequence[Points] = (), name: str = "outline") -> Polygon:
    """Return a polygon of loops in any direction; a point that repeats the one before is left out.

    Args:
        outline: (N, 2).
        holes: loops inside it.
        name: of the parameter ``outline``, for errors.

    Raises:
        GeometryError: fewer than three points, a loop that crosses itself, or a hole that leaves the outline.
    """
    rings = [_loop(outline, name)]
    rings += [_loop(hole, "holes", i) for i, hole in enumerate(holes)]
    rings = [ring if (signed_area(ring) > 0) == (i == 0) else ring[::-1] for i, ring in enumerate(rings)]
    ends = np.cumsum([len(ring) for ring in rings])
    loops = tuple(np.arange(end - len(ring), end) for ring, end in zip(rings, ends, strict=True))
    points = np.concatenate(rings)
    return Polygon(points, loops, triangulate(points, loops, name))


def triangulate(points: Floats, loops: Sequence[Integers], *path: str | int) -> Integers:
    """Return (T, 3) triangles among points (N, 2) that fill the first loop without the others, counter-clockwise.

    Args:
        points: (N, 2).
        loops: the outer one counter-clockwise, holes clockwise.
        path: of the error.

    Raises:
        GeometryError: the loops cross, or enclose nothing.
    """
    rings = [points[loop] for loop in loops]
    shapely = load_shapely()
    region = shapely.Polygon(rings[0], rings[1:])
    if not region.is_valid:
        raise GeometryError(f"is no polygon: {shapely.is_valid_reason(region)}", *path)
    # Unlike an ear clipper that drops points on straight lines, this uses every point: caps fit their walls.
    triangles = np.asarray(load_manifold().triangulate(rings, allow_convex=False), dtype=np.int64).reshape(-1, 3)
    return np.concatenate(loops)[triangles]


def signed_area(loop: Floats) -> float:
    """Return the area within a loop (N, 2), positive when it runs counter-clockwise."""
    following = np.roll(loop, -1, axis=0)
    return float((loop[:, 0] * following[:, 1] - loop[:, 1] * following[:, 0]).sum()) / 2


def make_points(points: Points, width: int, least: int, *path: str | int) -> Floats:
    """Return (N, width) float64 points.

    Raises:
        GeometryError: another shape, too few, or a value that is not finite.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"needs a list of points of {width} numbers each", *path) from error
    if array.ndim != 2 or array.shape[1] != width or len(array) < least:
        raise GeometryError(f"needs at least {least} points of {width} numbers each, not shape {array.shape}", *path)
    if not np.isfinite(array).all():
        raise GeometryError("is not finite", *path, int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0]))
    return array


def circle(radius: float, steps: int) -> Floats:
    """Return (steps, 2) points of a circle, counter-clockwise from +x."""
    angle = np.arange(steps) * (2 * np.pi / steps)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _loop(points: Points, *path: str | int) -> Floats:
    ring = make_points(points, 2, 3, *path)
    same = (ring == np.roll(ring, 1, axis=0)).all(axis=1)
    ring = ring[~same]
    if len(ring) < 3 or signed_area(ring) == 0:
        raise GeometryError("encloses no area", *path)
    return ring
