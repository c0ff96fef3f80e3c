"""What rays met: points, normals and colours; light and shadow on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.render.embree import Hits
from lab.geometry.render.film import Rays
from lab.geometry.render.prepared import (
    ABOVE,
    CORNER_COLUMNS,
    CORNER_NORMAL,
    CORNER_UV,
    CURVED,
    NORMAL,
    SLOT,
    UV_AREA,
    PreparedScene,
)
from lab.geometry.render.scene import Light, Scene

_STEPS = 4096
_linear = np.arange(_STEPS) / (_STEPS - 1)
_LINEAR_TO_SRGB = np.rint(
    255 * np.where(_linear <= 0.0031308, 12.92 * _linear, 1.055 * _linear ** (1 / 2.4) - 0.055)
).astype(np.uint8)


class Surface(NamedTuple):
    """Points of surfaces that M rays met; everything in the world.

    Attributes:
        points: (3, M) float32 on the smooth surface that the triangles stand for: where rays to lights start.
        normals: (3, M) float32 smooth, of length 1, on the side of the ray.
        flat: (3, M) float32 normals of the triangles, on the side of the ray.
        curved: (M,) bool: its triangle stands for a part of a curved surface.
        depth: (M,) float32 metres.
        colors: (3, M) float32 linear: how much of the light that falls on them is seen.
    """

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    flat: NDArray[np.float32]
    curved: NDArray[np.bool_]
    depth: NDArray[np.float32]
    colors: NDArray[np.float32]


def surface_of(prepared: PreparedScene, rays: Rays, hits: Hits, seen: NDArray[np.int64]) -> Surface:
    """Return what rays met.

    Args:
        prepared: the scene.
        rays: all of them.
        hits: theirs.
        seen: (M,) the rays that met something.
    """
    # np.take is five times as fast as an index within brackets.
    instance, depth = hits.instance.take(seen), hits.distance.take(seen)
    second, third = hits.u.take(seen), hits.v.take(seen)
    along = rays.directions.take(seen, axis=1)
    weights = 1 - second - third, second, third
    rows = prepared.first.take(instance) + hits.triangle.take(seen)
    rotations = prepared.rotations.take(instance, axis=2)
    flat = _rotated(rotations, prepared.table[NORMAL].take(rows, axis=1))
    normals = _rotated(rotations, _mixed(prepared.table, CORNER_NORMAL, rows, weights))
    facing = _dot(flat, along)
    side = np.where(facing > 0, np.float32(-1), np.float32(1))
    flat *= side
    length = np.sqrt(_dot(normals, normals))
    normals *= side / np.maximum(length, 1e-6)
    for opposed in np.flatnonzero(length < 1e-6):  # normals of corners that cancel each other
        normals[:, opposed] = flat[:, opposed]
    slant = (np.abs(facing) / np.sqrt(_dot(along, along))).astype(np.float32, copy=False)
    curved = prepared.table[CURVED].take(rows) > 0
    points = rays.origin + along * depth
    bent = np.flatnonzero(curved)
    if len(bent):
        lifts = _lifts(prepared, instance.take(bent), rows.take(bent), [w.take(bent) for w in weights], side.take(bent))
        for axis, lift in zip(points, lifts, strict=True):
            axis[bent] += lift
    return Surface(
        points,
        normals,
        flat,
        curved,
        depth,
        _colors(prepared, rays.spacing, instance, rows, weights, depth, slant),
    )


def shade(scene: Scene, prepared: PreparedScene, surface: Surface) -> NDArray[np.float32]:
    """Return the light (3, M) that comes from points of surfaces, linear.

    Light from everywhere falls fully on what faces up, by half on what faces down; distant lights by the cosine.
    """
    total = np.asarray(scene.ambient, np.float32)[:, None] * (0.75 + 0.25 * surface.normals[2])
    for light in scene.lights:
        toward = _direction(light)
        cosine = _dot(surface.normals, toward)
        faces = (cosine > 0) & (surface.curved | (_dot(surface.flat, toward) > 0))
        if light.shadows:
            lit = np.flatnonzero(faces)
            # Off the surface by more than what float32 may put the point below it.
            off = 2e-4 + 2e-5 * surface.depth.take(lit)
            start = surface.points.take(lit, axis=1) + surface.flat.take(lit, axis=1) * off
            faces[lit] = ~prepared.tree.blocked(start, toward)
        total += np.asarray(light.color, np.float32)[:, None] * (cosine * faces)
    total *= surface.colors
    return total


def sky(scene: Scene, directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the light (3, R) from where rays meet nothing: the horizon's below it, towards the zenith's above."""
    horizon, zenith = (np.asarray(color, np.float32)[:, None] for color in scene.sky)
    height = directions[2] / np.sqrt(_dot(directions, directions))
    return horizon + np.maximum(height, 0) * (zenith - horizon)


def to_srgb(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return linear light, 0 to 1 (brighter is white), as sRGB (IEC 61966-2-1)."""
    code = np.clip(light, 0.0, 1.0)
    code *= _STEPS - 1
    code += 0.5
    return _LINEAR_TO_SRGB[code.astype(np.int32)]


def _direction(light: Light) -> NDArray[np.float32]:
    """Return (3, 1) of length 1."""
    toward = np.asarray(light.direction, np.float64)
    length = np.linalg.norm(toward)
    if not (np.isfinite(toward).all() and length > 0):
        raise GeometryError(f"a light's direction is a vector of some length, not {light.direction}")
    return (toward / length).astype(np.float32)[:, None]


def _lifts(
    prepared: PreparedScene,
    instance: NDArray[np.int32],
    rows: NDArray[np.int64],
    weights: Sequence[NDArray[np.float32]],
    side: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the way (3, M) from points of triangles to the curved surface that these stand for.

    Without it, triangles would throw shadows upon each other where light grazes them. It leads to the mean of the
    projections on the planes of the corners: Hanika, "Hacking the Shadow Terminator" (Ray Tracing Gems II, 2021).
    """
    above = prepared.table[ABOVE].take(rows, axis=1)
    moves = []
    for corner in range(3):
        height = weights[corner - 2] * above[2 * corner] + weights[corner - 1] * above[2 * corner + 1]
        moves.append(weights[corner] * np.minimum(height * side, 0) * -side)
    lifts = _mixed(prepared.table, CORNER_NORMAL, rows, moves)
    return _rotated(prepared.rotations.take(instance, axis=2), lifts) * prepared.scales.take(instance)


def _colors(
    prepared: PreparedScene,
    spacing: float,
    instance: NDArray[np.int32],
    rows: NDArray[np.int64],
    weights: tuple[NDArray[np.float32], ...],
    depth: NDArray[np.float32],
    slant: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the colours (3, M) of materials, by their textures where they have one."""
    paint, table = prepared.paint, prepared.table
    slots = paint.first.take(instance) + table[SLOT].take(rows).astype(np.int64)
    colors = paint.colors.take(slots, axis=1)
    for texture, chosen in paint.textured(slots):
        part, some = rows.take(chosen), tuple(weight.take(chosen) for weight in weights)
        u, v = _mixed(table, CORNER_UV, part, some)
        # What one pixel sees of the texture, between its extents along and across of a slanted surface.
        pixel = depth.take(chosen) * spacing / prepared.scales.take(instance.take(chosen))
        width = np.sqrt(table[UV_AREA].take(part) / np.maximum(slant.take(chosen), 0.02)) * pixel
        painted = colors.take(chosen, axis=1) * texture.sample(u, v, width)
        for channel, values in zip(colors, painted, strict=True):
            channel[chosen] = values
    return colors


# numpy's sums in BLAS depend on its number of threads; these do not.


def _dot(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]


def _rotated(rotations: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return rotations[:, 0] * vectors[0] + rotations[:, 1] * vectors[1] + rotations[:, 2] * vectors[2]


def _mixed(
    table: NDArray[np.float32], columns: slice, rows: NDArray[np.int64], weights: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return (n, M) values between those at the corners of triangles; ``columns`` are those of the first corner."""
    step = CORNER_COLUMNS
    places = (slice(columns.start + step * corner, columns.stop + step * corner) for corner in range(3))
    corners = (table[place].take(rows, axis=1) for place in places)
    first, second, third = (weight * values for weight, values in zip(weights, corners, strict=True))
    return first + second + third
