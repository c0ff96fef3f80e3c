"""How fast scenes are rendered, beside embreex used as trimesh uses it: one mesh of the whole scene, ray after ray.

Every call renders another scene of the same objects, as a loader of generated scenes does. The peer does less: it finds
what each pixel and each point towards the light sees, and paints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lab.geometry.bake import bake
from lab.geometry.mesh import DynamicMesh, Material, Overlay
from lab.geometry.render.camera import camera_of_view, look_at
from lab.geometry.render.film import Film
from lab.geometry.render.rendering import render_all
from lab.geometry.render.scene import Camera, Instance, Rendering, Scene
from lab.geometry.static_mesh import StaticMesh

Size = tuple[int, int]
Step = Callable[[], Any]
_STEPS = 28
_KINDS = 6


def scene_row(objects: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """One camera, (height, width), in front of objects of 1500 triangles each, on a textured ground."""
    return _made(objects, [_in_front(size)])


def scene_step(objects: int, size: Size) -> Step:
    """Return what renders the scenes of ``scene_row``, without the peer: its device keeps a second thread busy."""
    scenes = _scenes(objects, [_blob(seed) for seed in range(_KINDS)], _ground())
    return lambda: render_all(next(scenes), [_in_front(size)])


def rig_row(objects: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Six cameras, (height, width) each, that look around from the middle of the objects."""
    angles = np.arange(6) * np.pi / 3
    looks = [look_at((0, 0, 1.6), (10 * np.cos(angle), 10 * np.sin(angle), 1.0)) for angle in angles]
    return _made(objects, [camera_of_view(size[1], size[0], 70, pose) for pose in looks])


def _in_front(size: Size) -> Camera:
    return camera_of_view(size[1], size[0], 60, look_at((0, -15, 6), (0, 0, 0.5)))


def _made(objects: int, cameras: Sequence[Camera]) -> tuple[Step, Step, float]:
    meshes, ground = [_blob(seed) for seed in range(_KINDS)], _ground()
    ours, theirs = (_scenes(objects, meshes, ground) for _ in range(2))
    scene = next(_scenes(objects, meshes, ground))
    gaps = []
    for mine, (instances, depth) in zip(render_all(scene, cameras), _cast(scene, cameras), strict=True):
        gaps.append(float(np.mean((mine.instances != instances) | ~np.isclose(mine.depth, depth, rtol=1e-4))))

    def step() -> list[Rendering]:
        return render_all(next(ours), cameras)

    return step, lambda: _cast(next(theirs), cameras), max(gaps)


def _scenes(objects: int, meshes: Sequence[StaticMesh], ground: StaticMesh) -> Iterator[Scene]:
    for seed in count():
        generator = np.random.default_rng(seed)
        instances = [Instance(ground, np.eye(4))]
        for number in range(objects):
            angle, x, y = generator.uniform((0, -9, -9), (2 * np.pi, 9, 9))
            pose = np.eye(4)
            pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            pose[:3, 3] = x + 2 * np.sign(x), y + 2 * np.sign(y), 1
            tint = tuple(generator.uniform(0.4, 1.3, 3).tolist())
            instances.append(Instance(meshes[number % len(meshes)], pose, number % 3, tint))
        yield Scene(tuple(instances))


def _cast(scene: Scene, cameras: Sequence[Camera]) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Return instances and depth of each camera, by embreex's own classes."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    points = [
        one.mesh.positions @ np.float32(one.pose[:3, :3].T) + np.float32(one.pose[:3, 3]) for one in scene.instances
    ]
    starts = np.cumsum([0, *map(len, points)])
    triangles = [one.mesh.triangles + start for one, start in zip(scene.instances, starts, strict=False)]
    owner = np.repeat(np.arange(len(triangles), dtype=np.int32), [len(part) for part in triangles])
    tree = EmbreeScene()
    TriangleMesh(tree, np.concatenate(points), np.concatenate(triangles).astype(np.int32))
    toward = np.float32([scene.lights[0].direction])
    found = []
    for camera in cameras:
        film, whole = Film(camera), slice(0, camera.height)
        rays = film.centres(whole)
        directions = np.ascontiguousarray(rays.directions.T)
        origins = np.repeat(rays.origin.T, len(directions), axis=0)
        hits = tree.run(origins, directions, output=1)
        seen = hits["primID"] >= 0
        surface = origins[seen] + directions[seen] * hits["tfar"][seen, None]
        tree.run(surface + 1e-3 * toward, np.repeat(toward, len(surface), axis=0), query="OCCLUDED")
        instances = np.where(seen, owner[hits["primID"]], -1)
        found.append((film.picture(instances, whole), film.picture(np.where(seen, hits["tfar"], np.inf), whole)))
    return found


def _blob(seed: int) -> StaticMesh:
    """Return a closed surface of 1500 triangles around the origin, about 1 m in radius."""
    generator = np.random.default_rng(seed)
    theta, phi = np.linspace(0, np.pi, _STEPS + 1), np.linspace(0, 2 * np.pi, _STEPS + 1)
    radius = 0.85 + 0.15 * np.cos(generator.integers(1, 4) * phi)[None] * np.sin(theta)[:, None]
    ring = np.sin(theta)[:, None] * radius
    points = np.stack([ring * np.cos(phi), ring * np.sin(phi), radius * np.cos(theta)[:, None]], axis=-1).reshape(-1, 3)
    number = np.arange((_STEPS + 1) ** 2).reshape(_STEPS + 1, _STEPS + 1)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    triangles = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
    return _baked(points, triangles, points / np.linalg.norm(points, axis=1, keepdims=True), Material("blob"))


def _ground() -> StaticMesh:
    corners = np.array([[-60.0, -60, 0], [60, -60, 0], [60, 60, 0], [-60, 60, 0]])
    tiles = np.kron([[0, 1], [1, 0]], np.full((32, 32), 90)).astype(np.uint8) + 110
    material = Material("tiles", (1.0, 1.0, 1.0), texture=np.repeat(tiles[..., None], 3, axis=2))
    return _baked(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.tile([0.0, 0, 1], (4, 1)), material)


def _baked(points: NDArray, triangles: NDArray, normals: NDArray, material: Material) -> StaticMesh:
    none = np.zeros(len(triangles), np.int64)
    uvs = Overlay(points[:, :2] / 4, triangles)
    return bake(DynamicMesh(points, triangles, none, none, (material,), Overlay(normals, triangles), (uvs,)))
