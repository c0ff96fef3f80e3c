"""Shells: a surface given a thickness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.mesh import UNSET, DynamicMesh
from lab.geometry.operations.extrude import border_walls, with_walls
from lab.geometry.operations.normals import refresh_normals
from lab.geometry.operations.offset import miter_vectors, offset, refuse_turned
from lab.geometry.operations.shaped import Distance
from lab.geometry.tool import Context, Tool
from lab.geometry.topology import require_triangles
from lab.geometry.transforms import inside_out


def shell(mesh: DynamicMesh, thickness: float) -> DynamicMesh:
    """Return the surface with a second one behind it, joined by walls at open borders.

    A closed mesh becomes hollow, an open one a solid. The first surface keeps all attributes; the second has its slots
    and UVs, normals of its own and polygroups numbered after the first one's; walls as in ``extrude_faces``.

    Args:
        mesh: any.
        thickness: metres; above 0 the second surface is inside of the first, below 0 outside.

    Raises:
        GeometryError: no thickness, or one for which a triangle would turn over.
    """
    require_triangles(mesh)
    if thickness == 0 or not np.isfinite(thickness):
        raise GeometryError(f"makes no shell: {thickness:g}", "thickness")
    moved = mesh.positions - thickness * miter_vectors(mesh.positions, mesh.triangles)
    refuse_turned(mesh, moved, thickness, "thickness")
    second = refresh_normals(replace(mesh, positions=moved))
    inner, outer = (second, mesh) if thickness > 0 else (mesh, second)
    both = append(outer, inside_out(inner)) if thickness > 0 else append(inside_out(inner), outer)
    count = mesh.num_vertices
    # Walls go from the border of the inner surface, as its triangles were before they were turned, to the outer one's.
    below, above = (count, 0) if thickness > 0 else (0, count)
    upper = np.full(2 * count, UNSET, dtype=np.int64)
    upper[below : below + count] = above + np.arange(count)
    first = 0 if thickness > 0 else mesh.num_triangles
    chosen = np.ones(mesh.num_triangles, dtype=bool)
    walls = border_walls(both, mesh.triangles + below, chosen, upper, first)
    return with_walls(both, walls)


@dataclass(frozen=True, kw_only=True)
class Shell(Tool):
    """Puts a second surface behind the surface, joined by walls at open borders.

    Attributes:
        thickness: metres; below 0 grows outwards.
    """

    word: ClassVar[str] = "shell"

    thickness: Distance

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the shell."""
        context.budget.afford(2 * mesh.num_triangles)
        return shell(mesh, self.thickness)


@dataclass(frozen=True, kw_only=True)
class Offset(Tool):
    """Moves every face along its normal: outwards, or inwards where negative.

    Attributes:
        distance: metres; below 0 goes inwards.
    """

    word: ClassVar[str] = "offset"

    distance: Distance

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with its faces moved."""
        return offset(mesh, self.distance)
