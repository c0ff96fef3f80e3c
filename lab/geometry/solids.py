"""Operations that go through another form of the mesh, and lose what that form does not hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from lab.geometry.bake import bake
from lab.geometry.collision import CollisionOptions, collision_mesh, collision_parts
from lab.geometry.distance_field import from_distance_field, to_distance_field
from lab.geometry.mesh import DynamicMesh
from lab.geometry.tool import Context, Tool
from lab.geometry.volume import VolumeOptions, from_volume, to_volume
from lab.geometry.voxels import count_sides, from_voxels, grid_around, to_voxels
from lab.ranges import Ge, Gt, Le

BYTES_PER_VOXEL, BYTES_PER_POINT = 16, 40
"""Of the grids while they are made: what the budget of a script counts."""


@dataclass(frozen=True, kw_only=True)
class Voxelize(Tool):
    """Makes the mesh of cubes; UVs and all but the first material are lost.

    Attributes:
        size: of a cube, metres.
    """

    word: ClassVar[str] = "voxelize"

    size: Annotated[float, Gt(0)] = 0.1

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the surface of the full voxels."""
        _, cells = grid_around(mesh, self.size, 1.0)
        context.budget.afford(0, BYTES_PER_VOXEL * math.prod(cells))
        voxels = to_voxels(mesh, self.size)
        context.budget.afford(2 * count_sides(voxels))
        return from_voxels(voxels, mesh.materials[0])


@dataclass(frozen=True, kw_only=True)
class Solidify(Tool):
    """Makes the surface at a distance from the mesh anew, rounded outside; UVs, groups, materials and edges are lost.

    Attributes:
        spacing: of the grid of distances, metres.
        distance: of the new surface from the old one, outward, metres.
    """

    word: ClassVar[str] = "solidify"

    spacing: Annotated[float, Gt(0)] = 0.05
    distance: float = 0.0

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the surface at the distance."""
        margin = max(self.distance, 0.0)
        _, cells = grid_around(mesh, self.spacing, 1.0 + margin / self.spacing)
        context.budget.afford(0, BYTES_PER_POINT * math.prod(cells))
        field = to_distance_field(mesh, self.spacing, margin, level=self.distance)
        return from_distance_field(field, self.distance, mesh.materials[0])


@dataclass(frozen=True, kw_only=True)
class FlatVolume(Tool):
    """Joins what lies in one plane to convex polygons, and cuts these into fans; UVs and normals are lost.

    Attributes:
        respect_groups: whether polygons end where a polygroup does.
        auto_simplify: whether a mesh of too many triangles loses shape; otherwise it is refused.
        max_triangles: the most triangles that the flat parts may need.
    """

    word: ClassVar[str] = "flat_volume"

    respect_groups: bool = True
    auto_simplify: bool = False
    max_triangles: Annotated[int, Ge(4)] = 250

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the triangles of the volume."""
        options = VolumeOptions(
            respect_group_boundaries=self.respect_groups,
            auto_simplify=self.auto_simplify,
            max_triangles=self.max_triangles,
        )
        return from_volume(to_volume(mesh, options))


@dataclass(frozen=True, kw_only=True)
class ConvexParts(Tool):
    """Makes the mesh of convex parts, each a polygroup; UVs and all but the first material are lost.

    Attributes:
        threshold: of the mesh's size: how deep the concave places of a part may be before it is cut.
        max_parts: the most parts; null for as many as the threshold needs.
    """

    word: ClassVar[str] = "convex_parts"

    threshold: Annotated[float, Ge(0.01), Le(1)] = 0.05
    max_parts: Annotated[int, Ge(1)] | None = None

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the parts."""
        options = CollisionOptions(threshold=self.threshold, max_parts=self.max_parts, seed=context.seed % 2**31)
        parts = collision_parts(mesh, options)
        return replace(collision_mesh(replace(bake(mesh), collision=parts)), materials=mesh.materials[:1])
