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
from lab.geometry.render.film import Film, Rays
from lab.geometry.render.prepared import PreparedScene
from lab.geometry.render.scene import NOTHING, Camera, Rendering, Scene
from lab.geometry.render.shading import Surface, shade, sky, surface_of, to_srgb

_STEP = 6
_MOST_RAYS = 1 << 16  # at once: their arrays stay in the cache


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
        samples: where a pixel's instance or colour differs from a neighbour's, its colour becomes the mean over a grid
            of ``samples`` x ``samples`` rays: 2 takes away most of the jags. Labels do not change.

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
    film, size = Film(camera), (camera.height, camera.width)
    color, normals = np.empty((*size, 3), np.uint8), np.empty((*size, 3), np.float32)
    depth, instances = np.empty(size, np.float32), np.empty(size, np.int32)
    for band in film.bands(_MOST_RAYS):
        rays = film.centres(band)
        hits = prepared.tree.closest(rays.origin, rays.directions)
        seen = np.flatnonzero(hits.instance != NOTHING)
        surface = surface_of(prepared, rays, hits, seen)
        directed = np.zeros_like(rays.directions)
        _put(directed, seen, surface.normals)
        color[band] = film.picture(to_srgb(_light(scene, prepared, rays, seen, surface)), band)
        normals[band] = film.picture(directed, band)
        depth[band] = film.picture(hits.distance, band)
        instances[band] = film.picture(hits.instance, band)
    if samples > 1:
        _refine(scene, prepared, film, samples, color, instances)
    categories = prepared.categories[instances]
    return Rendering(color, depth, normals, instances, categories, *visible(instances, len(scene.instances)))


def _light(
    scene: Scene, prepared: PreparedScene, rays: Rays, seen: NDArray[np.int64], surface: Surface
) -> NDArray[np.float32]:
    """Return the linear light of each ray (3, R)."""
    light = np.empty_like(rays.directions)
    _put(light, seen, shade(scene, prepared, surface))
    if len(seen) < light.shape[1]:
        is_empty = np.ones(light.shape[1], bool)
        is_empty[seen] = False
        empty = np.flatnonzero(is_empty)
        _put(light, empty, sky(scene, rays.directions.take(empty, axis=1)))
    return light


def _put(all_rays: NDArray[np.float32], places: NDArray[np.int64], values: NDArray[np.float32]) -> None:
    """Write values (3, M) at M places of (3, R): by rows, a third of the time of ``all_rays[:, places] = values``."""
    for row, some in zip(all_rays, values, strict=True):
        row[places] = some


def _refine(
    scene: Scene,
    prepared: PreparedScene,
    film: Film,
    samples: int,
    color: NDArray[np.uint8],
    instances: NDArray[np.int32],
) -> None:
    """Replace the colour of pixels on edges by the mean of several rays, in linear light."""
    rows, columns = np.nonzero(edges(color, instances))
    most = max(1, _MOST_RAYS // samples**2)
    for first in range(0, len(rows), most):
        chosen = slice(first, first + most)
        rays = film.within(rows[chosen], columns[chosen], samples)
        hits = prepared.tree.closest(rays.origin, rays.directions)
        seen = np.flatnonzero(hits.instance != NOTHING)
        light = _light(scene, prepared, rays, seen, surface_of(prepared, rays, hits, seen))
        mean = np.minimum(light, 1.0).reshape(3, -1, samples**2).mean(2)
        color[rows[chosen], columns[chosen]] = to_srgb(mean).T


def edges(color: NDArray[np.uint8], instances: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that show another instance than a neighbour, or another colour.

    Args:
        color: (H, W, 3) sRGB; a step of more than ``_STEP`` codes between neighbours is an edge.
        instances: (H, W).
    """
    found = np.zeros(instances.shape, bool)
    codes = color.astype(np.int16)
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        step = np.abs(codes[one] - codes[other])
        differs = (step[..., 0] > _STEP) | (step[..., 1] > _STEP) | (step[..., 2] > _STEP)
        differs |= instances[one] != instances[other]
        found[one] |= differs
        found[other] |= differs
    return found


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
