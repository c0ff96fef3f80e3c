"""From a scene and cameras to pictures with labels.

A pixel's labels are those of what the ray through its centre meets first, with the exactness of float32; its colour is
matt (Lambert) under distant lights with hard shadows, in linear light, stored as sRGB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.render.camera import check_camera
from lab.geometry.render.film import Film
from lab.geometry.render.prepared import PreparedScene
from lab.geometry.render.scene import NOTHING, Camera, Rendering, Scene
from lab.geometry.render.shading import Surface, shade, sky, surface_of, to_srgb


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
    film = Film(camera)
    hits = prepared.tree.closest(film.origin, film.directions)
    seen = np.flatnonzero(hits.instance != NOTHING)
    surface = surface_of(prepared, film, hits, seen)
    normals = np.zeros_like(film.directions)
    normals[:, seen] = surface.normals
    instances = film.picture(hits.instance)
    if samples == 1:
        color = film.picture(to_srgb(_light(scene, prepared, film, seen, surface)))
    else:
        color = _fine_color(scene, prepared, camera, samples)
    boxes, pixels = visible(instances, len(scene.instances))
    return Rendering(
        color=color,
        depth=film.picture(hits.distance),
        normals=film.picture(normals),
        instances=instances,
        categories=prepared.categories[instances],
        boxes=boxes,
        pixels=pixels,
    )


def _light(
    scene: Scene, prepared: PreparedScene, film: Film, seen: NDArray[np.int64], surface: Surface
) -> NDArray[np.float32]:
    """Return the linear light of each ray (3, R)."""
    light = np.empty_like(film.directions)
    light[:, seen] = shade(scene, prepared, surface)
    if len(seen) < light.shape[1]:
        empty = np.ones(light.shape[1], bool)
        empty[seen] = False
        light[:, empty] = sky(scene, film.directions[:, empty])
    return light


def _fine_color(scene: Scene, prepared: PreparedScene, camera: Camera, samples: int) -> NDArray[np.uint8]:
    """Return the colour of each pixel (H, W, 3) from several rays, strip by strip: rays take memory."""
    color = np.empty((camera.height, camera.width, 3), np.uint8)
    strip = max(1, 65536 // (camera.width * samples**2))
    for top in range(0, camera.height, strip):
        rows = min(strip, camera.height - top)
        scale = np.array([[samples, 0, 0], [0, samples, -top * samples], [0, 0, 1]], np.float64)
        intrinsics = scale @ np.asarray(camera.intrinsics)
        film = Film(Camera(camera.width * samples, rows * samples, intrinsics, camera.world_to_camera))
        hits = prepared.tree.closest(film.origin, film.directions)
        seen = np.flatnonzero(hits.instance != NOTHING)
        light = _light(scene, prepared, film, seen, surface_of(prepared, film, hits, seen))
        grid = film.picture(np.minimum(light, 1.0)).reshape(rows, samples, camera.width, samples, 3)
        color[top : top + rows] = to_srgb(grid.mean((1, 3)))
    return color


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
