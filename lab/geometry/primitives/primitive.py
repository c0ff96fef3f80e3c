"""What all shapes share: where they stand, their pivot, polygroups, UV and material."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.mesh import DynamicMesh, Floats
from lab.geometry.paint import Paint
from lab.geometry.parameters import Vector
from lab.geometry.primitives.patches import Patch, assembled
from lab.geometry.tool import Context, Tool
from lab.geometry.transforms import inside_out, pose, refuse_flat, transformed, translation
from lab.ranges import Ge, Le

Length = Annotated[float, Ge(1e-6), Le(1e6)]
"""Metres: a thousandth of a millimetre to a thousand kilometres."""
Reach = Annotated[float, Ge(0), Le(1e6)]
"""Metres, 0 included."""
Steps = Annotated[int, Ge(1), Le(100000)]
"""Into how many parts a side is cut."""
TwoOrMore = Annotated[int, Ge(2), Le(100000)]
"""Into how many parts a half circle is cut."""
Around = Annotated[int, Ge(3), Le(100000)]
"""Into how many parts a circle is cut."""


@dataclass(frozen=True, kw_only=True)
class Primitive(Tool):
    """A shape that is appended.

    Attributes:
        pivot: which height of the shape stands at ``at``: its base, its middle, its top.
        at: metres, where the shape's axis stands.
        rotate: degrees about the world's x, then y, then z.
        scale: along the shape's own x, y, z, about the pivot.
        groups: a polygroup for the whole shape, for each face, or for each quad.
        uv: UV layer 0: each face fills 0..1 (``fill``), or 1 is a metre (``metres``).
        inward: the shape is seen from within, as a room.
        material: see ``Paint``.
    """

    pivot: Literal["base", "centre", "top"] = "base"
    at: Vector = (0.0, 0.0, 0.0)
    rotate: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (1.0, 1.0, 1.0)
    groups: Literal["shape", "face", "quad"] = "face"
    uv: Literal["fill", "metres"] = "fill"
    inward: bool = False
    material: Paint = field(default_factory=Paint)

    def check(self) -> None:
        """Refuse a scale that flattens; subclasses add their own rules."""
        refuse_flat(self.scale)

    @abstractmethod
    def num_quads(self) -> int:
        """Return how many quads the shape has, before any is made."""

    @abstractmethod
    def patches(self) -> Sequence[Patch]:
        """Return the shape, its base on z = 0 around the origin."""

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with the shape."""
        context.budget.afford(mesh.num_triangles + 2 * self.num_quads())
        shape = assembled(self.patches(), self.groups, self.material.material())
        if not shape.num_triangles:
            raise GeometryError("is too thin to have a triangle")
        low, high = shape.positions[:, 2].min(), shape.positions[:, 2].max()
        lift = {"base": -low, "centre": -(low + high) / 2, "top": -high}[self.pivot]
        placed = transformed(shape, pose(self.at, self.rotate, self.scale) @ translation((0, 0, lift)))
        return append(mesh, inside_out(placed) if self.inward else placed)

    def extent(self, width: float, height: float) -> Floats:
        """Return (2,) what UV reaches over a face of this size in metres."""
        return np.array([width, height] if self.uv == "metres" else [1.0, 1.0])
