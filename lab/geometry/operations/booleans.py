"""Union, difference, intersection and trimming of closed meshes, by manifold3d in float64.

Every triangle of a result is a part of one triangle of one of the two meshes, and takes its polygroup, its slot and, by
barycentric interpolation, its normals and UVs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.measures import require_watertight
from lab.geometry.mesh import DynamicMesh
from lab.geometry.operations.libraries import load_manifold
from lab.geometry.operations.transfer import transfer
from lab.geometry.tool import Context, Tool
from lab.ranges import MinLen

NOTHING_LEFT = {
    "difference": "nothing is left: the other mesh covers this one",
    "intersection": "nothing is left: the two meshes do not overlap",
}


def union(first: DynamicMesh, second: DynamicMesh) -> DynamicMesh:
    """Return the surface of what is inside either mesh.

    Polygroups of the second mesh are numbered after those of the first; slots are joined by the materials' names;
    normals and UVs are interpolated, and corners from a mesh that has none are unset.

    Raises:
        GeometryError: a mesh is not watertight, or manifold3d is missing.
    """
    return _boolean(first, second, "union")


def difference(first: DynamicMesh, second: DynamicMesh) -> DynamicMesh:
    """Return the surface of what is inside the first mesh but not inside the second; attributes as in ``union``.

    The walls of the cut are the second mesh's triangles turned over, with their normals negated.

    Raises:
        GeometryError: a mesh is not watertight, nothing is left, or manifold3d is missing.
    """
    return _boolean(first, second, "difference")


def intersection(first: DynamicMesh, second: DynamicMesh) -> DynamicMesh:
    """Return the surface of what is inside both meshes; attributes as in ``union``.

    Raises:
        GeometryError: a mesh is not watertight, the two have nothing in common, or manifold3d is missing.
    """
    return _boolean(first, second, "intersection")


def trim(first: DynamicMesh, second: DynamicMesh, keep: Literal["outside", "inside"] = "outside") -> DynamicMesh:
    """Return the part of the first mesh's surface that lies outside (or inside) the second: open at the cut.

    Nothing of the second mesh remains: polygroups, slots, normals and UVs are the first mesh's, interpolated.

    Args:
        first: is cut.
        second: cuts.
        keep: which part.

    Raises:
        GeometryError: a mesh is not watertight, nothing is left, or manifold3d is missing.
    """
    if keep not in ("outside", "inside"):
        raise GeometryError(f"must be outside or inside, not {keep!r}", "keep")
    return _boolean(first, second, "intersection" if keep == "inside" else "difference", only_first=True)


def _boolean(first: DynamicMesh, second: DynamicMesh, operation: str, only_first: bool = False) -> DynamicMesh:
    require_watertight(first, "the mesh")
    require_watertight(second, "the other mesh")
    this, other = _solid(first, 0, "the mesh"), _solid(second, first.num_triangles, "the other mesh")
    solid = {"union": lambda: this + other, "difference": lambda: this - other, "intersection": lambda: this ^ other}
    result = solid[operation]().to_mesh64()
    triangles = np.asarray(result.tri_verts, dtype=np.int64).reshape(-1, 3)
    positions = np.asarray(result.vert_properties, dtype=np.float64)[:, :3]
    source = np.asarray(result.face_id, dtype=np.int64)
    if only_first:
        kept = source < first.num_triangles
        triangles, source = triangles[kept], source[kept]
        used, triangles = np.unique(triangles, return_inverse=True)
        positions, triangles = positions[used], triangles.reshape(-1, 3)
    if not len(triangles):
        raise GeometryError(NOTHING_LEFT[operation])
    return transfer(first if only_first else append(first, second), positions, triangles, source)


def _solid(mesh: DynamicMesh, first_id: int, what: str) -> Any:
    library = load_manifold()
    solid = library.Manifold(
        library.Mesh64(
            vert_properties=np.array(mesh.positions, dtype=np.float64),
            tri_verts=np.array(mesh.triangles, dtype=np.uint64),
            face_id=np.arange(first_id, first_id + mesh.num_triangles, dtype=np.uint64),
        )
    )
    if solid.status() != library.Error.NoError:
        raise GeometryError(f"manifold3d does not take {what}: {solid.status().name}")
    return solid


@dataclass(frozen=True, kw_only=True)
class WithOther(Tool):
    """An operation on the mesh and another one.

    Attributes:
        other: the steps that make the other mesh.
    """

    other: Annotated[tuple[Tool, ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class BooleanUnion(WithOther):
    """Joins the mesh with another: the surface of what is inside either."""

    word: ClassVar[str] = "union"

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return what is inside either mesh."""
        return union(mesh, self.operand("other", context))


@dataclass(frozen=True, kw_only=True)
class BooleanDifference(WithOther):
    """Cuts another mesh out of the mesh."""

    word: ClassVar[str] = "difference"

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh without the other one."""
        return difference(mesh, self.operand("other", context))


@dataclass(frozen=True, kw_only=True)
class BooleanIntersection(WithOther):
    """Keeps what is inside both the mesh and another."""

    word: ClassVar[str] = "intersection"

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return what is inside both meshes."""
        return intersection(mesh, self.operand("other", context))


@dataclass(frozen=True, kw_only=True)
class Trim(WithOther):
    """Keeps the part of the surface that lies outside, or inside, another mesh; open at the cut.

    Attributes:
        keep: the part of the surface that stays.
    """

    word: ClassVar[str] = "trim"

    keep: Literal["outside", "inside"] = "outside"

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the part of the surface."""
        return trim(mesh, self.operand("other", context), self.keep)
