"""What is rendered, and what comes out: cameras, instances of meshes, lights, pictures with labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.geometry.mesh import Floats
from lab.geometry.static_mesh import StaticMesh

NOTHING = -1
"""The instance and the category of a pixel that shows none."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera as OpenCV has it: x right, y down, z forward; pixel centres at halves.

    Attributes:
        width: pixels.
        height: pixels.
        intrinsics: (3, 3) float64 K, in pixels: a point (x, y, z) is seen at (K @ (x, y, z)) / z.
        world_to_camera: (4, 4) float64.
    """

    width: int
    height: int
    intrinsics: Floats
    world_to_camera: Floats


@dataclass(frozen=True)
class Instance:
    """A mesh in the world.

    Attributes:
        mesh: may be shared by several instances.
        pose: (4, 4) float64 mesh to world, a similarity.
        category: the label of its pixels; ``NOTHING`` for background that is no object (ground, sky line).
        tint: RGB that multiplies the colours of its materials.
    """

    mesh: StaticMesh
    pose: Floats
    category: int = NOTHING
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Light:
    """A distant light, as the sun.

    Attributes:
        direction: from the scene to the light, any length.
        color: RGB, linear; 1 lights a white surface that faces it fully.
        shadows: whether instances cast shadows from it.
    """

    direction: tuple[float, float, float] = (0.4, 0.3, 0.85)
    color: tuple[float, float, float] = (0.8, 0.8, 0.75)
    shadows: bool = True


@dataclass(frozen=True)
class Scene:
    """Instances under lights.

    Attributes:
        instances: their index is what ``Rendering.instances`` holds.
        lights: see there.
        ambient: RGB light from everywhere.
        sky: RGB of a pixel that shows no instance, at the horizon and at the zenith.
    """

    instances: tuple[Instance, ...]
    lights: tuple[Light, ...] = (Light(),)
    ambient: tuple[float, float, float] = (0.25, 0.27, 0.3)
    sky: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.75, 0.8, 0.85), (0.35, 0.5, 0.75))


@dataclass(frozen=True)
class Rendering:
    """A picture with its labels; N instances in the scene.

    Attributes:
        color: (H, W, 3) uint8 sRGB.
        depth: (H, W) float32 z in the camera, metres; infinite where nothing is seen.
        normals: (H, W, 3) float32 in the world, towards the camera; zeros where nothing is seen.
        instances: (H, W) int32 index of the instance of a pixel's centre, or ``NOTHING``.
        categories: (H, W) int32 its category, or ``NOTHING``.
        boxes: (N, 4) float32 xyxy in pixels around the visible pixels of each instance: left edge of the leftmost to
            right edge of the rightmost; zeros where none is visible.
        pixels: (N,) int64 visible pixels of each instance.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    instances: NDArray[np.int32]
    categories: NDArray[np.int32]
    boxes: NDArray[np.float32]
    pixels: NDArray[np.int64]
