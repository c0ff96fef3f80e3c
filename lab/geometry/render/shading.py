"""What rays met: points, normals and colours; light and shadow on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.render.embree import Hits
from lab.geometry.render.prepared import PreparedScene
from lab.geometry.render.scene import Camera, Scene

_STEPS = 4096
_linear = np.arange(_STEPS) / (_STEPS - 1)
_LINEAR_TO_SRGB = np.rint(
    255 * np.where(_linear <= 0.0031308, 12.92 * _linear, 1.055 * _linear ** (1 / 2.4) - 0.055)
).astype(np.uint8)


class Surface(NamedTuple):
    """Points of surfaces that M rays met; everything in the world.

    Attributes:
        points: (M, 3) float32.
        normals: (M, 3) float32 smooth, of length 1, on the side of the ray.
        flat: (M, 3) float32 normals of the triangles, on the side of the ray.
        depth: (M,) float32 metres.
        colors: (M, 3) float32 linear: how much of the light that falls on them is seen.
    """

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    flat: NDArray[np.float32]
    depth: NDArray[np.float32]
    colors: NDArray[np.float32]


def surface_of(
    prepared: PreparedScene,
    hits: Hits,
    seen: NDArray[np.int64],
    origin: NDArray[np.float32],
    directions: NDArray[np.float32],
    focal: float,
) -> Surface:
    """Return what rays met.

    Args:
        prepared: the scene.
        hits: of all rays.
        seen: (M,) the rays that met something.
        origin: (3,) of all rays.
        directions: (R, 3) whose depth is 1.
        focal: pixels that a metre takes at a depth of one metre.
    """
    instance, depth, along = hits.instance[seen], hits.distance[seen], directions[seen]
    u, v = hits.u[seen], hits.v[seen]
    rows = prepared.table[prepared.first[instance] + hits.triangle[seen]]
    weights = np.stack([1 - u - v, u, v], axis=1)
    smooth = np.einsum("mc,mcd->md", weights, rows[:, 5:].reshape(-1, 3, 5))
    rotations = prepared.rotations[instance]
    normals = np.einsum("mij,mj->mi", rotations, smooth[:, :3])
    flat = np.einsum("mij,mj->mi", rotations, rows[:, :3])
    facing = np.einsum("md,md->m", flat, along)
    side = np.where(facing > 0, np.float32(-1), np.float32(1))[:, None]
    normals *= side / np.sqrt(np.einsum("md,md->m", normals, normals))[:, None]
    flat *= side
    # What one pixel sees of the texture, in the direction between along and across of a slanted surface.
    slant = np.abs(facing) / np.sqrt(np.einsum("md,md->m", along, along))
    width = np.sqrt(rows[:, 3] / np.maximum(slant, 0.02)) * depth / (focal * prepared.scales[instance])
    return Surface(
        origin + along * depth[:, None],
        normals,
        flat,
        depth,
        prepared.paint.colors(instance, rows[:, 4].astype(np.int64), smooth[:, 3:], width),
    )


def shade(scene: Scene, prepared: PreparedScene, surface: Surface) -> NDArray[np.float32]:
    """Return the light (M, 3) that comes from points of surfaces, linear.

    Light from everywhere falls fully on what faces up, by half on what faces down; distant lights by the cosine.
    """
    up = 0.75 + 0.25 * surface.normals[:, 2:]
    total = up * np.asarray(scene.ambient, np.float32)
    for light in scene.lights:
        toward = np.asarray(light.direction, np.float64)
        length = np.linalg.norm(toward)
        if not (np.isfinite(toward).all() and length > 0):
            raise GeometryError(f"a light's direction is a vector of some length, not {light.direction}")
        to_light = (toward / length).astype(np.float32)
        cosine = surface.normals @ to_light
        lit = np.flatnonzero((cosine > 0) & (surface.flat @ to_light > 0))
        if light.shadows and len(lit):
            # Off the surface by more than float32 may put the point below it.
            off = (2e-4 + 2e-5 * surface.depth[lit])[:, None] * surface.flat[lit]
            lit = lit[~prepared.tree.blocked(surface.points[lit] + off, to_light[None])]
        total[lit] += cosine[lit, None] * np.asarray(light.color, np.float32)
    return total * surface.colors


def sky(scene: Scene, directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the light (R, 3) from where rays meet nothing: the horizon's below it, towards the zenith's above."""
    horizon, zenith = (np.asarray(color, np.float32) for color in scene.sky)
    height = directions[:, 2] / np.sqrt(np.einsum("rd,rd->r", directions, directions))
    return horizon + np.maximum(height, 0)[:, None] * (zenith - horizon)


def focal_of(camera: Camera) -> float:
    """Return the geometric mean of a camera's two focal lengths, pixels."""
    return float(np.sqrt(abs(np.linalg.det(np.asarray(camera.intrinsics, np.float64)[:2, :2]))))


def to_srgb(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return linear light, 0 to 1 (brighter is white), as sRGB (IEC 61966-2-1)."""
    return _LINEAR_TO_SRGB[np.rint(np.clip(light, 0.0, 1.0) * (_STEPS - 1)).astype(np.int64)]
