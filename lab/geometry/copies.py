"""Many copies of one mesh, made at once."""

from __future__ import annotations

import dataclasses

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers, Overlay
from lab.geometry.topology import unit


def placed_copies(mesh: DynamicMesh, places: Floats) -> DynamicMesh:
    """Return copies of a mesh, each moved as ``transformed`` does, joined as ``append`` does.

    Args:
        mesh: any.
        places: (n, 4, 4) affine.

    Raises:
        GeometryError: a matrix is not finite, too large, or flattens the mesh.
    """
    count, linear = len(places), places[:, :3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        determinants = np.linalg.det(linear)
    wrong = ~(np.isfinite(places).all((1, 2)) & (np.abs(places) < 1e12).all((1, 2)) & (np.abs(determinants) > 0))
    if wrong.any():
        raise GeometryError(f"copy {int(np.argmax(wrong))} would be too large, too small or too far away", "scale")
    mirrored = determinants < 0
    positions = np.einsum("nij,vj->nvi", linear, mesh.positions) + places[:, None, :3, 3]
    groups = mesh.polygroups - (mesh.polygroups.min() if mesh.num_triangles else 0)
    step = int(groups.max()) + 1 if mesh.num_triangles else 1
    normals = None if mesh.normals is None else _turned(mesh.normals, linear, mirrored)
    return dataclasses.replace(
        mesh,
        positions=positions.reshape(-1, 3),
        triangles=_repeated(mesh.triangles, count, mesh.num_vertices, mirrored),
        polygroups=(groups + step * np.arange(count)[:, None]).reshape(-1),
        slots=np.tile(mesh.slots, count),
        normals=normals,
        uvs=tuple(
            Overlay(
                np.tile(layer.elements, (count, 1)),
                _repeated(layer.corners, count, len(layer.elements), mirrored),
            )
            for layer in mesh.uvs
        ),
    )


def _turned(normals: Overlay, linear: Floats, mirrored: Flags) -> Overlay:
    turned = unit(np.einsum("ej,nji->nei", normals.elements, np.linalg.inv(linear)))
    count = len(normals.elements)
    return Overlay(turned.reshape(-1, 3), _repeated(normals.corners, len(linear), count, mirrored))


def _repeated(corners: Integers, count: int, size: int, mirrored: Flags) -> Integers:
    """Return (n * F, 3) corners of copies; those that are unset stay so."""
    offsets = size * np.arange(count)[:, None, None]
    repeated = np.where(corners < 0, corners, corners + offsets)
    return np.where(mirrored[:, None, None], repeated[..., ::-1], repeated).reshape(-1, 3)
