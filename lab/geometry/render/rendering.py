"""From a scene and cameras to pictures with labels.

A pixel's labels are those of what the ray through its centre meets first, with the exactness of float32; its colour is
matt (Lambert) under distant lights with hard shadows, in linear light, stored as sRGB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.render.camera import check_camera, rays
from lab.geometry.render.embree import Hits
from lab.geometry.render.prepared import PreparedScene
from lab.geometry.render.scene import NOTHING, Camera, Rendering, Scene
from lab.geometry.render.shading import Surface, focal_of, shade, sky, surface_of, to_srgb


def render(scene: Scene, camera: Camera, samples: int = 1) -> Rendering:
    """Return the picture of a scene; see ``render_all``."""
    return render_all(scene, [camera], samples)[0]


def render_all(scene: Scene, cameras: Sequence[Camera], samples: int = 1) -> list[Rendering]:
    """Return the picture of each camera.

    The same scene and camera give the same bytes in every process of a machine. What concerns a mesh alone is computed
    when it is first seen and kept as long as the mesh lives: share meshes between instances and scenes.

    Args:
        scene: what to render.
        cameras: as many as wanted; what concerns the scene is computed once.
        samples: the colour of a pixel is the mean over a grid of ``samples`` x ``samples`` rays. Labels do not change.

    Raises:
        GeometryError: embree is not installed; a camera, pose, light, mesh or texture cannot be.
    """
    if samples < 1:
        raise GeometryError(f"samples of a pixel are 1 or more, not {samples}")
    for camera in cameras:
        check_camera(camera)
    prepared = PreparedScene(scene)
    return [_render(scene, prepared, camera, samples) for camera in cameras]


def _render(scene: Scene, prepared: PreparedScene, camera: Camera, samples: int) -> Rendering:
    origin, directions = rays(camera)
    hits = prepared.tree.closest(origin[None], directions)
    seen = np.flatnonzero(hits.instance != NOTHING)
    surface = surface_of(prepared, hits, seen, origin, directions, focal_of(camera))
    size = camera.height, camera.width
    normals = np.zeros((camera.height * camera.width, 3), np.float32)
    normals[seen] = surface.normals
    if samples == 1:
        light = _light(scene, prepared, directions, seen, surface)
    else:
        light = _fine_light(scene, prepared, camera, samples)
    instances = hits.instance.reshape(size).copy()
    boxes, pixels = visible(instances, len(scene.instances))
    return Rendering(
        color=to_srgb(light).reshape(*size, 3),
        depth=hits.distance.reshape(size).copy(),
        normals=normals.reshape(*size, 3),
        instances=instances,
        categories=prepared.categories[instances],
        boxes=boxes,
        pixels=pixels,
    )


def _light(
    scene: Scene,
    prepared: PreparedScene,
    directions: NDArray[np.float32],
    seen: NDArray[np.int64],
    surface: Surface,
) -> NDArray[np.float32]:
    """Return the linear light of each ray (R, 3)."""
    light = sky(scene, directions) if len(seen) < len(directions) else np.empty((len(directions), 3), np.float32)
    light[seen] = shade(scene, prepared, surface)
    return light


def _fine_light(scene: Scene, prepared: PreparedScene, camera: Camera, samples: int) -> NDArray[np.float32]:
    """Return the mean linear light of each pixel (H * W, 3), strip by strip: rays take memory."""
    total = np.empty((camera.height, camera.width, 3), np.float32)
    strip = max(1, 65536 // (camera.width * samples**2))
    for top in range(0, camera.height, strip):
        rows = min(strip, camera.height - top)
        scale = np.array([[samples, 0, 0], [0, samples, -top * samples], [0, 0, 1]], np.float64)
        fine = Camera(
            camera.width * samples, rows * samples, scale @ np.asarray(camera.intrinsics), camera.world_to_camera
        )
        origin, directions = rays(fine)
        hits: Hits = prepared.tree.closest(origin[None], directions)
        seen = np.flatnonzero(hits.instance != NOTHING)
        surface = surface_of(prepared, hits, seen, origin, directions, focal_of(fine))
        light = _light(scene, prepared, directions, seen, surface)
        grid = light.reshape(rows, samples, camera.width, samples, 3)
        total[top : top + rows] = np.minimum(grid, 1.0).mean((1, 3))
    return total.reshape(-1, 3)


def visible(instances: NDArray[np.int32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the boxes (N, 4) around the visible pixels of each of N instances, and their number (N,).

    Args:
        instances: (H, W) index of each pixel's instance, or ``NOTHING``.
        count: N.
    """
    from scipy.ndimage import find_objects

    pixels = np.bincount(instances.reshape(-1) + 1, minlength=count + 1)[1:]
    boxes = np.zeros((count, 4), np.float32)
    for number, place in enumerate(find_objects(instances + 1, max_label=count)):
        if place is not None:
            rows, columns = place
            boxes[number] = columns.start, rows.start, columns.stop, rows.stop
    return boxes, pixels.astype(np.int64)
