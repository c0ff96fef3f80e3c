"""What is made when a mesh is accepted: baked, with levels of detail and collision, ready for files and renderers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from lab.geometry.bake import bake
from lab.geometry.collision import CollisionOptions, collision_parts
from lab.geometry.levels import MAX_ERROR, make_levels
from lab.geometry.mesh import DynamicMesh
from lab.geometry.parameters import Parameters
from lab.geometry.static_mesh import StaticMesh
from lab.ranges import Gt


@dataclass(frozen=True, kw_only=True)
class AssetOptions(Parameters):
    """What a static mesh gets beside its triangles.

    Attributes:
        levels: shares of the triangles that each level of detail may have, falling.
        keep: lines that stay in all levels, see ``lab.geometry.operations.simplify``.
        max_error: of the diagonal of the mesh's box: how far a level's surface may move.
        collision: how collision is made; null for none.
    """

    levels: tuple[float, ...] = ()
    keep: Literal["all", "borders", "none"] = "borders"
    max_error: Annotated[float, Gt(0)] = MAX_ERROR
    collision: CollisionOptions | None = None


PLAIN = AssetOptions()


def accept(mesh: DynamicMesh, options: AssetOptions = PLAIN) -> StaticMesh:
    """Return the static mesh of an editable one.

    Raises:
        GeometryError: a level is out of reach, or the mesh is not closed and is to be cut into convex parts.
    """
    static = bake(mesh)
    if options.levels:
        levels = make_levels(mesh, options.levels, options.keep, options.max_error)
        static = replace(static, levels=tuple(level.mesh for level in levels))
    if options.collision is not None:
        static = replace(static, collision=collision_parts(mesh, options.collision))
    return static
