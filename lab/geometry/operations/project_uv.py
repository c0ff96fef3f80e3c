"""UV layers by projection: from a plane, from the six sides of a box, around a cylinder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import numpy as np

from lab.errors import GeometryError
from lab.geometry.measures import face_normals
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers
from lab.geometry.overlays import corner_values, overlay_from_corners, unset_overlay
from lab.geometry.primitives.primitive import Length
from lab.geometry.selection import Selection
from lab.geometry.tool import Context, Tool
from lab.geometry.transforms import pose
from lab.ranges import Ge, Le

METHODS = ("planar", "box", "cylindrical")
# Seen from outside, u goes right and v up: (u, v) as axes and signs for faces towards +x, -x, +y, -y, +z, -z.
_SIDES = [((1, 1), (2, 1)), ((1, -1), (2, 1)), ((0, -1), (2, 1)), ((0, 1), (2, 1)), ((0, 1), (1, 1)), ((0, 1), (1, -1))]


def project_uv(
    mesh: DynamicMesh,
    method: str = "box",
    size: float = 1.0,
    frame: Floats | None = None,
    chosen: Flags | Integers | None = None,
    layer: int = 0,
) -> DynamicMesh:
    """Return the mesh with a UV layer of some triangles projected anew.

    Triangles, polygroups, slots, normals and other layers stay. Corners of one vertex with the same UV share an
    element; seams are where triangles are projected from other sides, and on a cylinder at its back (-x).

    Args:
        mesh: any.
        method: ``planar``: x and y of the frame; ``box``: each triangle from the side of the frame that it faces most;
            ``cylindrical``: u once around z (0 to 1 from the back counter-clockwise), v along z, and ends as ``box``.
        size: metres that make 1 in u and v; around a cylinder only v.
        frame: (4, 4) frame to mesh, a rigid motion; None for the mesh's own.
        chosen: (F,) bool, or indices of triangles; None for all. Others keep their UVs.
        layer: the number of the UV layer; new ones before it are unset.

    Raises:
        GeometryError: an unknown method, a size that is not above 0, or a negative layer.
    """
    if method not in METHODS:
        raise GeometryError(f"must be {', '.join(METHODS)}, not {method!r}", "method")
    if not size > 0:
        raise GeometryError(f"must be above 0, not {size:g}", "size")
    if layer < 0:
        raise GeometryError(f"must be at least 0, not {layer}", "layer")
    to_frame = np.linalg.inv(np.eye(4) if frame is None else frame)
    points = (mesh.positions @ to_frame[:3, :3].T + to_frame[:3, 3])[mesh.triangles]
    normals = face_normals(mesh) @ to_frame[:3, :3].T
    if method == "planar":
        values = points[..., :2] / size
    else:
        values = _from_box(points, normals) / size
        if method == "cylindrical":
            side = np.linalg.norm(normals[:, :2], axis=1) >= np.abs(normals[:, 2]) - 1e-12
            values[side] = _around(points[side], size)
    layers = list(mesh.uvs) + [unset_overlay(mesh.num_triangles, 2) for _ in range(layer + 1 - len(mesh.uvs))]
    mask = np.ones(mesh.num_triangles, dtype=bool)
    if chosen is not None:
        mask[:] = False
        mask[chosen] = True
    values = np.where(mask[:, None, None], values, corner_values(layers[layer]))
    layers[layer] = overlay_from_corners(values, mesh.triangles)
    return replace(mesh, uvs=tuple(layers))


def _from_box(points: Floats, normals: Floats) -> Floats:
    """Return (F, 3, 2) metres in the plane of the box's side that each triangle faces most."""
    axis = np.round(np.abs(normals), 9).argmax(axis=1)  # equal ones: the first
    side = 2 * axis + (np.take_along_axis(normals, axis[:, None], 1)[:, 0] < 0)
    values = np.empty((*points.shape[:2], 2))
    for number, directions in enumerate(_SIDES):
        rows = side == number
        for k, (place, sign) in enumerate(directions):
            values[rows, :, k] = sign * points[rows][..., place]
    return values


def _around(points: Floats, size: float) -> Floats:
    """Return (F, 3, 2): turns around z from the back, unbroken within a triangle, and heights."""
    u = np.arctan2(points[..., 1], points[..., 0]) / (2 * np.pi) + 0.5
    on_axis = (points[..., :2] == 0).all(axis=2)
    u = np.where(u - np.where(on_axis, np.inf, u).min(axis=1, keepdims=True) > 0.5, u - 1, u)
    others = np.where(on_axis, np.nan, u)
    mean = np.nansum(others, axis=1) / np.maximum((~on_axis).sum(axis=1), 1)
    u = np.where(on_axis, mean[:, None], u)
    u = u - np.floor(np.round(u.mean(axis=1, keepdims=True), 9))
    return np.stack([u, points[..., 2] / size], axis=2)


@dataclass(frozen=True, kw_only=True)
class ProjectUV(Tool):
    """Projects a UV layer from a box, a plane or a cylinder.

    Attributes:
        method: from a plane, a box or around a cylinder.
        size: metres that make 1.
        at: the origin of the projection, metres.
        rotate: degrees about the world's x, then y, then z.
        select: which triangles.
        layer: the number of the UV layer.
    """

    word: ClassVar[str] = "project_uv"

    method: Literal["planar", "box", "cylindrical"] = "box"
    size: Length = 1.0
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    select: Selection = field(default_factory=Selection)
    layer: Annotated[int, Ge(0), Le(7)] = 0

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh with new UVs."""
        frame = pose(self.at, self.rotate, 1.0)
        return project_uv(mesh, self.method, self.size, frame, self.select.within_step(mesh, "select"), self.layer)
