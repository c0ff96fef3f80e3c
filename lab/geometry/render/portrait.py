"""Pictures of one mesh under a studio's lights: what a person looks at while building it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.mesh import Floats, Material
from lab.geometry.render.camera import camera_of_view, look_at
from lab.geometry.render.rendering import render
from lab.geometry.render.scene import Camera, Instance, Light, Scene
from lab.geometry.static_mesh import StaticMesh

_FLOOR = 0.62
_LIGHTS = (
    Light((0.5, -0.55, 0.9), (0.75, 0.73, 0.68)),
    Light((-0.9, -0.4, 0.35), (0.16, 0.18, 0.22), shadows=False),
    Light((0.1, 1.0, 0.5), (0.2, 0.2, 0.2), shadows=False),
)
_AMBIENT = (0.3, 0.31, 0.33)


def portrait(mesh: StaticMesh, size: int = 512, azimuth: float = 35.0, elevation: float = 22.0) -> NDArray[np.uint8]:
    """Return a picture (size, size, 3) sRGB of a mesh that stands on a floor.

    Args:
        mesh: of any size: it is moved and scaled into the picture.
        size: pixels.
        azimuth: degrees that the mesh is turned by; at 0 its x axis points to the right and y away.
        elevation: degrees of the camera above the horizon, 5 to 90.

    Raises:
        GeometryError: the mesh has no triangles; a number is out of range; embree is not installed.
    """
    return _pictures(mesh, size, [azimuth], elevation)[0]


def turntable(mesh: StaticMesh, frames: int = 36, size: int = 256, elevation: float = 22.0) -> list[NDArray[np.uint8]]:
    """Return pictures (size, size, 3) of a mesh that turns once around; see ``portrait``."""
    if frames < 1:
        raise GeometryError(f"a turntable has at least one frame, not {frames}")
    return _pictures(mesh, size, (35.0 + np.arange(frames) * (360.0 / frames)).tolist(), elevation)


def write_gif(frames: Sequence[NDArray[np.uint8]], path: Path, seconds: float = 3.0) -> None:
    """Write pictures of one size as a GIF that plays in that time, over and over, with one palette of 128 colours."""
    from PIL import Image

    if not frames:
        raise GeometryError(f"{path}: a GIF has at least one frame")
    palette = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)])).quantize(128)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    wait = max(20, round(1000 * seconds / len(frames)))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=wait, loop=0, optimize=False)


def _pictures(mesh: StaticMesh, size: int, azimuths: Sequence[float], elevation: float) -> list[NDArray[np.uint8]]:
    if not len(mesh.triangles):
        raise GeometryError("a picture of a mesh without triangles shows nothing")
    if not 5 <= elevation <= 90:
        raise GeometryError(f"elevation is 5 to 90 degrees, not {elevation}")
    used = mesh.positions[np.unique(mesh.triangles)].astype(np.float64)
    low, high = used.min(0), used.max(0)
    # As it turns, a mesh stays within a cylinder of radius 1 or less and that height.
    middle = np.append((low[:2] + high[:2]) / 2, low[2])
    across = np.linalg.norm(used[:, :2] - middle[:2], axis=1).max()
    scale = 1 / max(across, (high[2] - low[2]) / 2, 1e-30)
    height = (high[2] - low[2]) * scale
    camera = _camera(size, elevation, height, min(across * scale, 1.0))
    floor = _floor()
    pictures = []
    for azimuth in azimuths:
        pose = _turned(azimuth) * scale
        pose[:3, 3] = -pose[:3, :3] @ middle
        pose[3, 3] = 1
        scene = Scene((Instance(floor, np.eye(4)), Instance(mesh, pose)), _LIGHTS, _AMBIENT)
        pictures.append(render(scene, camera, samples=3).color)
    return pictures


def _camera(size: int, elevation: float, height: float, radius: float) -> Camera:
    """Return a camera that sees the whole cylinder."""
    angle, view = np.radians(elevation), 28.0
    target = np.array([0, 0, height / 2])
    away = np.array([0, -np.cos(angle), np.sin(angle)])
    up = (0, 1, 0) if elevation > 89 else (0, 0, 1)
    around = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)
    corners = np.concatenate([np.column_stack([ring, np.full(32, z)]) for z in (0, height)])
    pose = look_at(target + away, target, up)
    seen = (corners - target) @ pose[:3, :3].T
    reach = np.abs(seen[:, :2]).max(1) / np.tan(np.radians(view / 2))
    distance = (reach - seen[:, 2]).max() * 1.08
    return camera_of_view(size, size, view, look_at(target + away * distance, target, up))


def _turned(azimuth: float) -> Floats:
    angle = np.radians(azimuth)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose


def _floor() -> StaticMesh:
    """Return a wide square, a hair below the mesh so that a flat base is no tie."""
    positions = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * 200
    positions[:, 2] = -1e-3
    return StaticMesh(
        positions=positions,
        normals=np.tile(np.array([0, 0, 1], np.float32), (4, 1)),
        tangents=np.tile(np.array([1, 0, 0, 1], np.float32), (4, 1)),
        uvs=np.zeros((4, 2), np.float32),
        triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        slots=np.zeros(2, np.int32),
        materials=(Material("floor", (_FLOOR, _FLOOR, _FLOOR)),),
    )
