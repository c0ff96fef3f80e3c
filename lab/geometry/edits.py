"""Tools that rearrange what is there: append, repeat, transform, mirror, delete, weld, paint, regroup."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.components import connected_parts, edge_neighbours, smooth_pairs
from lab.geometry.copies import placed_copies
from lab.geometry.joining import append, merged_materials, with_triangles
from lab.geometry.mesh import DynamicMesh, Integers
from lab.geometry.paint import Paint
from lab.geometry.parameters import Vector
from lab.geometry.selection import Selection
from lab.geometry.tool import Context, Tool
from lab.geometry.transforms import pose, refuse_flat, scaling, transformed, translation
from lab.geometry.welding import welded
from lab.ranges import Ge, Gt, Le, MinLen


@dataclass(frozen=True, kw_only=True)
class AppendMesh(Tool):
    """Adds the mesh of a nested script.

    Attributes:
        other: steps of the mesh to add.
        at: metres.
        rotate: degrees about the world's x, then y, then z.
        scale: along x, y, z; a negative factor mirrors.
    """

    word: ClassVar[str] = "append"

    other: Annotated[tuple[Tool, ...], MinLen(1)]
    at: Vector = (0.0, 0.0, 0.0)
    rotate: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (1.0, 1.0, 1.0)

    def check(self) -> None:
        """Refuse a scale that flattens."""
        refuse_flat(self.scale)

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return both as one."""
        return append(mesh, transformed(self.operand("other", context), pose(self.at, self.rotate, self.scale)))


@dataclass(frozen=True, kw_only=True)
class Repeat(Tool):
    """Adds copies of a nested script's mesh, each moved on from the one before.

    Attributes:
        other: steps of the mesh to repeat; it is made once.
        count: of copies.
        at: metres that each copy lies further, in the frame of the copy before.
        rotate: degrees that each copy is turned further.
        scale: by which each copy is larger than the one before.
        start: metres, where the first one stands.
    """

    word: ClassVar[str] = "repeat"

    other: Annotated[tuple[Tool, ...], MinLen(1)]
    count: Annotated[int, Ge(1), Le(100000)] = 2
    at: Vector = (0.0, 0.0, 0.0)
    rotate: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (1.0, 1.0, 1.0)
    start: Vector = (0.0, 0.0, 0.0)

    def check(self) -> None:
        """Refuse a scale that flattens."""
        refuse_flat(self.scale)

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with the copies."""
        part = self.operand("other", context)
        context.budget.afford(mesh.num_triangles + self.count * part.num_triangles)
        step, places = pose(self.at, self.rotate, self.scale), [translation(self.start)]
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(self.count - 1):
                places.append(places[-1] @ step)
        return append(mesh, placed_copies(part, np.stack(places)))


@dataclass(frozen=True, kw_only=True)
class TransformMesh(Tool):
    """Scales, then rotates, then moves the mesh.

    Attributes:
        at: metres to move.
        rotate: degrees about the world's x, then y, then z.
        scale: along x, y, z; a negative factor mirrors, and the outside stays outside.
        about: the point that scaling and rotation leave in place.
    """

    word: ClassVar[str] = "transform"

    at: Vector = (0.0, 0.0, 0.0)
    rotate: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (1.0, 1.0, 1.0)
    about: Vector = (0.0, 0.0, 0.0)

    def check(self) -> None:
        """Refuse a scale that flattens."""
        refuse_flat(self.scale)

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh moved."""
        del context
        back = translation(-np.array(self.about))
        return transformed(mesh, translation(self.about) @ pose(self.at, self.rotate, self.scale) @ back)


@dataclass(frozen=True, kw_only=True)
class MirrorMesh(Tool):
    """Adds the mirror image of the mesh; vertices that meet at the plane become one.

    Attributes:
        axis: across which the mirror stands.
        at: metres along the axis, where it stands.
        weld: distance below which vertices are one, metres; 0 leaves them apart.
    """

    word: ClassVar[str] = "mirror"

    axis: Literal["x", "y", "z"] = "x"
    at: float = 0.0
    weld: Annotated[float, Ge(0)] = 1e-6

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return both halves."""
        context.budget.afford(2 * mesh.num_triangles)
        index = "xyz".index(self.axis)
        factors, place = np.ones(3), np.zeros(3)
        factors[index], place[index] = -1.0, self.at
        image = transformed(mesh, translation(place) @ scaling(factors) @ translation(-place))
        both = append(mesh, image)
        return welded(both, self.weld) if self.weld else both


@dataclass(frozen=True, kw_only=True)
class Delete(Tool):
    """Takes triangles away.

    Attributes:
        select: which.
    """

    word: ClassVar[str] = "delete"

    select: Selection

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh without them."""
        del context
        return with_triangles(mesh, ~self.select.within_step(mesh, "select"))


@dataclass(frozen=True, kw_only=True)
class Weld(Tool):
    """Makes vertices at one place one; triangles that lose a corner go.

    Attributes:
        distance: metres.
    """

    word: ClassVar[str] = "weld"

    distance: Annotated[float, Gt(0)] = 1e-6

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh welded."""
        del context
        return welded(mesh, self.distance)


@dataclass(frozen=True, kw_only=True)
class PaintTriangles(Tool):
    """Gives triangles a material.

    Attributes:
        material: see ``Paint``.
        select: which.
    """

    word: ClassVar[str] = "paint"

    material: Paint
    select: Selection = field(default_factory=Selection)

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh painted, without materials that no triangle has any more."""
        del context
        chosen = self.select.within_step(mesh, "select")
        left = np.unique(mesh.slots[~chosen])
        kept = tuple(mesh.materials[slot] for slot in left)
        try:
            materials, (slot,) = merged_materials(kept, (self.material.material(),))
        except GeometryError as error:
            raise error.within("material") from error
        slots = np.full(mesh.num_triangles, slot)
        slots[~chosen] = np.searchsorted(left, mesh.slots[~chosen])
        return dataclasses.replace(mesh, slots=slots, materials=materials)


@dataclass(frozen=True, kw_only=True)
class Regroup(Tool):
    """Gives triangles new polygroups.

    Attributes:
        by: one group for all, one for each connected part, for each part between edges sharper than ``angle``, for
            each part of one material, or for each triangle.
        angle: degrees between the normals of neighbours.
        select: which triangles; the others keep their groups.
    """

    word: ClassVar[str] = "regroup"

    by: Literal["one", "connected", "angle", "material", "triangle"] = "angle"
    angle: Annotated[float, Ge(0), Le(180)] = 15.0
    select: Selection = field(default_factory=Selection)

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh regrouped; new groups have numbers above those that stay."""
        del context
        chosen = self.select.within_step(mesh, "select")
        labels = self._labels(mesh, chosen)[chosen]
        staying = mesh.polygroups[~chosen]
        groups = mesh.polygroups.copy()
        first = int(staying.max()) + 1 if len(staying) else 0
        groups[chosen] = np.unique(labels, return_inverse=True)[1].reshape(-1) + first
        return dataclasses.replace(mesh, polygroups=groups)

    def _labels(self, mesh: DynamicMesh, chosen: np.ndarray) -> Integers:
        if self.by == "angle":
            return connected_parts(mesh, smooth_pairs(mesh, self.angle, chosen))
        if self.by == "triangle":
            return np.arange(mesh.num_triangles)
        pairs = edge_neighbours(mesh)
        pairs = pairs[chosen[pairs].all(1)]
        if self.by == "material":
            pairs = pairs[mesh.slots[pairs[:, 0]] == mesh.slots[pairs[:, 1]]]
        return np.zeros(mesh.num_triangles, dtype=np.int64) if self.by == "one" else connected_parts(mesh, pairs)
