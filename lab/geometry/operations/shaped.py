"""What tools that make a new shape share: it is painted, placed and appended."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Annotated

from lab.geometry.joining import append
from lab.geometry.mesh import DynamicMesh
from lab.geometry.paint import Paint
from lab.geometry.parameters import Vector
from lab.geometry.tool import Context, Tool
from lab.geometry.transforms import pose, refuse_flat, transformed
from lab.ranges import Ge, Le, MinLen

Distance = Annotated[float, Ge(-1e6), Le(1e6)]
"""Metres, of either sign."""
Loop = Annotated[tuple[tuple[float, float], ...], MinLen(3)]
"""Points of a closed outline, x and y in metres."""
Polyline = Annotated[tuple[tuple[float, float], ...], MinLen(2)]
"""Points of a line."""


@dataclass(frozen=True, kw_only=True)
class Shaped(Tool):
    """A shape that is made by an operation and appended.

    Attributes:
        at: where its origin goes, metres.
        rotate: degrees about the world's x, then y, then z.
        scale: along its own x, y, z.
        material: see ``Paint``.
    """

    at: Vector = (0.0, 0.0, 0.0)
    rotate: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (1.0, 1.0, 1.0)
    material: Paint = field(default_factory=Paint)

    def check(self) -> None:
        """Refuse a scale that flattens."""
        refuse_flat(self.scale)

    @abstractmethod
    def shape(self, context: Context) -> DynamicMesh:
        """Return the shape at the origin."""

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with the shape."""
        return append(mesh, transformed(self.shape(context), pose(self.at, self.rotate, self.scale)))
