"""A scene made ready for rays: trees, and what each triangle looks like."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.render.embree import InstanceTree, MeshTree
from lab.geometry.render.scene import NOTHING, Scene
from lab.geometry.render.textures import SlotColors
from lab.geometry.static_mesh import StaticMesh

COLUMNS = 27
"""Rows of a table of triangles: the triangle's normal (3), area in UV of a square metre (1), slot (1), for each of its
corners the normal (3) and UV (2), whether it stands for a curved surface (1), and for each corner how far the next and
the one after lie above the plane through it that its normal is perpendicular to (2)."""
NORMAL, UV_AREA, SLOT, CORNER_NORMAL, CORNER_UV = slice(0, 3), 3, 4, slice(5, 8), slice(8, 10)
CORNER_COLUMNS, CURVED, ABOVE = 5, 20, slice(21, 27)


@dataclass(frozen=True)
class PreparedMesh:
    """What is computed once for each mesh; F triangles.

    Attributes:
        tree: None for a mesh without triangles.
        table: (27, F) float32, see ``COLUMNS``.
    """

    tree: MeshTree | None
    table: NDArray[np.float32]


class _Meshes:
    """Prepared meshes for as long as the meshes themselves live."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[StaticMesh], PreparedMesh]] = {}

    def __call__(self, mesh: StaticMesh) -> PreparedMesh:
        key = id(mesh)
        if key not in self._found:
            made = _prepare(mesh)
            self._found[key] = (weakref.ref(mesh, lambda _: self._found.pop(key, None)), made)
        return self._found[key][1]


_prepared = _Meshes()


class PreparedScene:
    """What is computed once for each scene; N instances, T triangles of its distinct meshes.

    Attributes:
        tree: over the instances.
        table: (27, T) float32.
        first: (N,) int64 first triangle of each instance's mesh in the table.
        rotations: (3, 3, N) float32 of the poses, without their scale.
        scales: (N,) float32 of the poses.
        categories: (N + 1,) int32, the last one ``NOTHING``.
        paint: colours of the instances' slots.
    """

    def __init__(self, scene: Scene) -> None:
        shapes = [np.shape(instance.pose) for instance in scene.instances]
        if set(shapes) - {(4, 4)}:
            raise GeometryError(f"the pose of an instance is (4, 4), not {(set(shapes) - {(4, 4)}).pop()}")
        poses = np.array([instance.pose for instance in scene.instances], np.float64).reshape(-1, 4, 4)
        self.rotations, self.scales = _similarities(poses)
        distinct = {id(instance.mesh): instance.mesh for instance in scene.instances}
        made = {key: _prepared(mesh) for key, mesh in distinct.items()}
        starts = np.cumsum([0, *(mesh.table.shape[1] for mesh in made.values())])
        start_of = dict(zip(made, starts.tolist(), strict=False))
        self.table = np.concatenate(
            [np.zeros((COLUMNS, 0), np.float32), *(mesh.table for mesh in made.values())], axis=1
        )
        self.first = np.array([start_of[id(instance.mesh)] for instance in scene.instances], np.int64)
        self.tree = InstanceTree([made[id(instance.mesh)].tree for instance in scene.instances], poses)
        self.categories = np.array([*(instance.category for instance in scene.instances), NOTHING], np.int32)
        self.paint = SlotColors(scene.instances)
        lights = (("light", light.color) for light in scene.lights)
        for name, color in (("ambient", scene.ambient), *(("sky", one) for one in scene.sky), *lights):
            if not (np.isfinite(color).all() and np.min(color) >= 0):
                raise GeometryError(f"the {name} of a scene has a colour of three numbers of 0 or more, not {color}")


def _prepare(mesh: StaticMesh) -> PreparedMesh:
    count, triangles = len(mesh.positions), mesh.triangles
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < count):
        raise GeometryError(f"a triangle of a static mesh has a vertex outside of 0 .. {count - 1}")
    if len(triangles) and not (mesh.slots.min() >= 0 and mesh.slots.max() < len(mesh.materials)):
        raise GeometryError(f"a triangle of a static mesh has a slot outside of its {len(mesh.materials)} materials")
    for name in ("positions", "normals", "uvs"):
        if len(getattr(mesh, name)) != count:
            raise GeometryError(f"a static mesh has {count} positions and {len(getattr(mesh, name))} {name}")
        if not np.isfinite(getattr(mesh, name)).all():
            raise GeometryError(f"{name} of a static mesh are finite numbers, one is not")
    points, uvs = mesh.positions[triangles].astype(np.float64), mesh.uvs[triangles].astype(np.float64)
    normals = mesh.normals[triangles]
    cross = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    area = np.linalg.norm(cross, axis=1)
    (du1, dv1), (du2, dv2) = (uvs[:, 1] - uvs[:, 0]).T, (uvs[:, 2] - uvs[:, 0]).T
    table = np.zeros((COLUMNS, len(triangles)), np.float32)
    known = area > 0
    table[NORMAL, known] = (cross[known] / area[known, None]).T
    table[UV_AREA, known] = np.abs(du1 * dv2 - du2 * dv1)[known] / area[known]
    table[SLOT] = mesh.slots
    table[5:20] = np.concatenate([normals, mesh.uvs[triangles]], axis=2).reshape(-1, 15).T
    others = np.stack([np.roll(points, -1, axis=1), np.roll(points, -2, axis=1)], axis=2) - points[:, :, None]
    above = np.einsum("fcod,fcd->fco", others, normals).reshape(-1, 6)
    table[CURVED] = np.abs(above).max(1, initial=0) > 1e-4 * np.sqrt(area)
    table[ABOVE] = above.T
    return PreparedMesh(MeshTree(mesh.positions, triangles) if len(triangles) else None, table)


def _similarities(poses: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    matrices = poses[:, :3, :3]
    with np.errstate(invalid="ignore", divide="ignore"):
        scales = np.cbrt(np.abs(np.linalg.det(matrices)))
        off = np.abs(matrices @ matrices.transpose(0, 2, 1) / scales[:, None, None] ** 2 - np.eye(3)).max((1, 2))
    wrong = np.flatnonzero(~(np.isfinite(poses).all((1, 2)) & (off < 1e-4)))
    if len(wrong):
        raise GeometryError(
            f"the pose of instance {wrong[0]} may turn, shift and scale all axes alike, others belong baked into "
            f"its mesh: {poses[wrong[0]].tolist()}"
        )
    rotations = np.ascontiguousarray((matrices / scales[:, None, None]).transpose(1, 2, 0), np.float32)
    return rotations, scales.astype(np.float32)
