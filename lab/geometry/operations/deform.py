"""Deforming space along an axis: bend, twist, taper, flare.

Vertices move, everything else stays: polygroups, slots, UVs and seams. Normals are turned by the deformation's own
derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Floats, Overlay
from lab.geometry.operations.channels import split_channels
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import unit
from lab.ranges import Ge, Le

_ORDER = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}
_CONE = 1e-3  # the least scale of a taper


def deform(mesh: DynamicMesh, function: Callable[[Floats], Floats]) -> DynamicMesh:
    """Return the mesh with every point moved by a smooth function of its place.

    Polygroups, slots and UVs stay. Normals are turned by the function's derivative, by central differences, so they
    stay at right angles to the surface to about 1e-9.

    Args:
        mesh: any.
        function: from (N, 3) points to (N, 3) points.
    """
    moved = function(mesh.positions)
    if mesh.normals is None:
        return replace(mesh, positions=moved)
    normals = split_channels(mesh)[1]
    vertex = np.zeros(len(normals.elements), dtype=np.int64)
    known = normals.corners >= 0
    vertex[normals.corners[known]] = mesh.triangles[known]
    where = mesh.positions[vertex]
    step = 1e-5 * max(float(np.ptp(mesh.positions, axis=0).max()), 1e-9)
    columns = [(function(where + step * axis) - function(where - step * axis)) / (2 * step) for axis in np.eye(3)]
    # The cofactor matrix turns normals as the surface turns; its columns are cross products of the derivative's.
    a, b, c = columns
    cofactor = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=2)
    turned = unit((cofactor @ normals.elements[..., None])[..., 0])
    return replace(mesh, positions=moved, normals=Overlay(turned, normals.corners))


def bend(
    mesh: DynamicMesh, angle: float, axis: str = "z", towards: float = 0.0, extent: tuple[float, float] | None = None
) -> DynamicMesh:
    """Return the mesh bent along an axis: the axis becomes an arc of the same length; beyond it all goes on straight.

    Attributes as in ``deform``.

    Args:
        mesh: any; long edges along the axis stay straight, so subdivide before.
        angle: degrees from one end of the arc to the other.
        axis: x, y or z, through the origin.
        towards: degrees about the axis, from the next one (x after z), of the way in which the end goes.
        extent: where along the axis the arc begins and ends, metres; None for the whole mesh.

    Raises:
        GeometryError: an unknown axis, or an extent without length.
    """
    order = _axes(axis)
    low, high, held = _extent(mesh, order, extent)
    total, turn = np.radians(angle), np.radians(towards)
    if total == 0:
        return mesh
    radius = (high - low) / total

    def bent(points: Floats) -> Floats:
        across, side, along = points[:, order].T
        into, beside = np.cos(turn) * across + np.sin(turn) * side, np.cos(turn) * side - np.sin(turn) * across
        inside = held(along)
        phase, rest = (inside - low) / radius, along - inside
        arm = radius - into
        new_into = radius - arm * np.cos(phase) + rest * np.sin(phase)
        new_along = low + arm * np.sin(phase) + rest * np.cos(phase)
        new_across = np.cos(turn) * new_into - np.sin(turn) * beside
        new_side = np.sin(turn) * new_into + np.cos(turn) * beside
        return _back(order, new_across, new_side, new_along)

    return deform(mesh, bent)


def twist(mesh: DynamicMesh, angle: float, axis: str = "z", extent: tuple[float, float] | None = None) -> DynamicMesh:
    """Return the mesh turned about an axis, by more and more along it; attributes as in ``deform``.

    Args:
        mesh: any; long edges stay straight, so subdivide before.
        angle: degrees between one end and the other.
        axis: x, y or z, through the origin.
        extent: where along the axis the turn begins and ends, metres; None for the whole mesh.

    Raises:
        GeometryError: an unknown axis, or an extent without length.
    """
    order = _axes(axis)
    low, high, held = _extent(mesh, order, extent)

    def twisted(points: Floats) -> Floats:
        across, side, along = points[:, order].T
        turn = np.radians(angle) * (held(along) - low) / (high - low)
        return _back(
            order, np.cos(turn) * across - np.sin(turn) * side, np.sin(turn) * across + np.cos(turn) * side, along
        )

    return deform(mesh, twisted)


def taper(
    mesh: DynamicMesh, factor: float, axis: str = "z", extent: tuple[float, float] | None = None, shape: str = "linear"
) -> DynamicMesh:
    """Return the mesh scaled across an axis, from 1 at one end to a factor at the other; attributes as in ``deform``.

    Args:
        mesh: any.
        factor: of the size at the end (``linear``), or in the middle (``flare``, with both ends as they are).
        axis: x, y or z, through the origin.
        extent: where along the axis it begins and ends, metres; None for the whole mesh.
        shape: ``linear``, or ``flare``: a smooth bulge, or waist where the factor is below 1.

    Raises:
        GeometryError: a factor below a thousandth, an unknown word, or an extent without length.
    """
    if not factor >= _CONE:
        raise GeometryError(f"must be at least {_CONE:g}, not {factor:g}", "factor")
    if shape not in ("linear", "flare"):
        raise GeometryError(f"must be linear or flare, not {shape!r}", "shape")
    order = _axes(axis)
    low, high, held = _extent(mesh, order, extent)

    def tapered(points: Floats) -> Floats:
        across, side, along = points[:, order].T
        share = (held(along) - low) / (high - low)
        scale = 1 + (factor - 1) * (share if shape == "linear" else np.sin(np.pi * share) ** 2)
        return _back(order, across * scale, side * scale, along)

    return deform(mesh, tapered)


def _axes(axis: str) -> list[int]:
    if axis not in _ORDER:
        raise GeometryError(f"must be x, y or z, not {axis!r}", "axis")
    return list(_ORDER[axis])


def _back(order: list[int], across: Floats, side: Floats, along: Floats) -> Floats:
    points = np.empty((len(along), 3))
    points[:, order] = np.stack([across, side, along], axis=1)
    return points


def _extent(
    mesh: DynamicMesh, order: list[int], extent: tuple[float, float] | None
) -> tuple[float, float, Callable[[Floats], Floats]]:
    """Return both ends, and what holds places along the axis between them where an extent is given."""
    given = extent is not None
    if extent is None:
        if not mesh.num_vertices:
            raise GeometryError("the mesh has no vertices")
        along = mesh.positions[:, order[2]]
        extent = float(along.min()), float(along.max())
        if not extent[0] < extent[1]:
            raise GeometryError("the mesh is flat along it: choose another axis, or give an extent", "axis")
    if not extent[0] < extent[1]:
        raise GeometryError(f"has no length: from {extent[0]:g} to {extent[1]:g}", "extent")
    low, high = extent
    return low, high, lambda along: np.clip(along, low, high) if given else along


@dataclass(frozen=True, kw_only=True)
class AlongAxis(Tool):
    """A deformation along an axis.

    Attributes:
        axis: through the origin.
        extent: where along it the deformation begins and ends, metres; null for the whole mesh.
    """

    axis: Literal["x", "y", "z"] = "z"
    extent: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Bend(AlongAxis):
    """Bends along an axis, which becomes an arc of the same length; long edges stay straight, so subdivide before.

    Attributes:
        angle: degrees.
        towards: degrees about the axis.
    """

    word: ClassVar[str] = "bend"

    angle: float = 90.0
    towards: float = 0.0

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the bent mesh."""
        return bend(mesh, self.angle, self.axis, self.towards, self.extent)


@dataclass(frozen=True, kw_only=True)
class Twist(AlongAxis):
    """Turns about an axis, by more and more along it; long edges stay straight, so subdivide before.

    Attributes:
        angle: degrees.
    """

    word: ClassVar[str] = "twist"

    angle: float = 90.0

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the twisted mesh."""
        return twist(mesh, self.angle, self.axis, self.extent)


@dataclass(frozen=True, kw_only=True)
class Taper(AlongAxis):
    """Scales across an axis, from 1 at one end to a factor at the other, or in the middle.

    Attributes:
        factor: of the size.
        shape: linear to the end, or a bulge in the middle.
    """

    word: ClassVar[str] = "taper"

    factor: Annotated[float, Ge(0.001), Le(1000)] = 0.5
    shape: Literal["linear", "flare"] = "linear"

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the tapered mesh."""
        return taper(mesh, self.factor, self.axis, self.extent, self.shape)
