"""Whether a mesh is one: shapes, indices, finite numbers. Checked after each step of a script, and on files."""

from __future__ import annotations

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import UNSET, DynamicMesh, Overlay

FARTHEST = 1e9
"""Metres from the origin at which a vertex may be: areas and volumes do not overflow."""


def validate(mesh: DynamicMesh) -> None:
    """Refuse arrays that do not fit together.

    Raises:
        GeometryError: names the array and the first wrong row.
    """
    _shape(mesh.positions, (mesh.num_vertices, 3), "positions")
    _shape(mesh.triangles, (mesh.num_triangles, 3), "triangles")
    _shape(mesh.polygroups, (mesh.num_triangles,), "polygroups")
    _shape(mesh.slots, (mesh.num_triangles,), "slots")
    _finite(mesh.positions, "positions")
    far = np.argwhere(np.abs(mesh.positions) > FARTHEST)
    if len(far):
        index = int(far[0, 0])
        raise GeometryError(
            f"must be within {FARTHEST:g} m, not at {mesh.positions[index].tolist()}", "positions", index
        )
    _indices(mesh.triangles, 0, mesh.num_vertices, "triangles", "vertices")
    _indices(mesh.slots, 0, len(mesh.materials), "slots", "materials")
    if not mesh.materials:
        raise GeometryError("a mesh has one material at least", "materials")
    if mesh.normals is not None:
        _overlay(mesh.normals, mesh.num_triangles, 3, "normals")
        lengths = np.linalg.norm(mesh.normals.elements, axis=1)
        wrong = np.flatnonzero(np.abs(lengths - 1) > 1e-3)
        if len(wrong):
            raise GeometryError(f"a normal has length 1, not {lengths[wrong[0]]:g}", "normals", int(wrong[0]))
    for layer, overlay in enumerate(mesh.uvs):
        _overlay(overlay, mesh.num_triangles, 2, f"uvs[{layer}]")


def _overlay(overlay: Overlay, num_triangles: int, dimensions: int, name: str) -> None:
    _shape(overlay.elements, (len(overlay.elements), dimensions), f"{name}.elements")
    _shape(overlay.corners, (num_triangles, 3), f"{name}.corners")
    _finite(overlay.elements, f"{name}.elements")
    _indices(overlay.corners, UNSET, len(overlay.elements), f"{name}.corners", "elements")


def _shape(array: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape:
        raise GeometryError(f"must have the shape {shape}, not {array.shape}", name)


def _finite(array: np.ndarray, name: str) -> None:
    wrong = np.flatnonzero(~np.isfinite(array).all(-1))
    if len(wrong):
        raise GeometryError(f"must be finite, not {array[wrong[0]].tolist()}", name, int(wrong[0]))


def _indices(array: np.ndarray, low: int, count: int, name: str, of: str) -> None:
    wrong = np.argwhere((array < low) | (array >= count))
    if len(wrong):
        place = tuple(int(index) for index in wrong[0])
        raise GeometryError(f"must be an index of the {count} {of}, not {array[place]}", name, *place)
