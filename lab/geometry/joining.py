"""Meshes joined, and parts of them taken out."""

from __future__ import annotations

import dataclasses

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Flags, Integers, Material, Overlay
from lab.geometry.overlays import joined_overlays, kept_corners, unset_overlay


def append(first: DynamicMesh, second: DynamicMesh) -> DynamicMesh:
    """Return both meshes as one: slots of the same material are one, groups of the second get new numbers.

    Normals and UV layers that only one has are unset in the triangles of the other.

    Raises:
        GeometryError: a material of the same name looks different in the two.
    """
    if not second.num_triangles or not first.num_triangles:
        return first if first.num_triangles else second
    materials, slots = merged_materials(first.materials, second.materials)
    group = int(first.polygroups.max()) + 1 - int(second.polygroups.min())
    layers = max(len(first.uvs), len(second.uvs))
    return DynamicMesh(
        np.vstack([first.positions, second.positions]),
        np.vstack([first.triangles, second.triangles + first.num_vertices]),
        np.concatenate([first.polygroups, second.polygroups + group]),
        np.concatenate([first.slots, slots[second.slots]]),
        materials,
        _joined_normals(first, second),
        tuple(joined_overlays(_layer(first, number), _layer(second, number)) for number in range(layers)),
    )


def merged_materials(
    first: tuple[Material, ...], second: tuple[Material, ...]
) -> tuple[tuple[Material, ...], Integers]:
    """Return the materials of two meshes, those of one name once, and the new slot of each of the second's.

    Raises:
        GeometryError: a material of the same name looks different in the two.
    """
    names = {material.name: slot for slot, material in enumerate(first)}
    materials, slots = list(first), []
    for material in second:
        slot = names.setdefault(material.name, len(materials))
        if slot == len(materials):
            materials.append(material)
        elif material is not materials[slot] and not _same(material, materials[slot]):
            raise GeometryError(f"there are two materials of the name {material.name!r} that look different")
        slots.append(slot)
    return tuple(materials), np.array(slots, dtype=np.int64)


def _same(first: Material, second: Material) -> bool:
    if first.texture is None or second.texture is None:
        return first == second and first.texture is second.texture
    return first == second and np.array_equal(first.texture, second.texture)


def _layer(mesh: DynamicMesh, number: int) -> Overlay:
    return mesh.uvs[number] if number < len(mesh.uvs) else unset_overlay(mesh.num_triangles, 2)


def _joined_normals(first: DynamicMesh, second: DynamicMesh) -> Overlay | None:
    if first.normals is None and second.normals is None:
        return None
    halves = [mesh.normals or unset_overlay(mesh.num_triangles, 3) for mesh in (first, second)]
    return joined_overlays(*halves)


def with_triangles(mesh: DynamicMesh, chosen: Flags | Integers) -> DynamicMesh:
    """Return a mesh of some of the triangles, without vertices and elements that none of them uses.

    Args:
        mesh: any.
        chosen: (F,) bool, or indices in the order wanted. Materials stay, so that slots keep their numbers.
    """
    triangles = mesh.triangles[chosen]
    used, inverse = np.unique(triangles, return_inverse=True)
    return dataclasses.replace(
        mesh,
        positions=mesh.positions[used],
        triangles=inverse.reshape(triangles.shape),
        polygroups=mesh.polygroups[chosen],
        slots=mesh.slots[chosen],
        normals=None if mesh.normals is None else kept_corners(mesh.normals, chosen),
        uvs=tuple(kept_corners(layer, chosen) for layer in mesh.uvs),
    )
