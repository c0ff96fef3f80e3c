"""A rendering with all its labels in one picture, for a person."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from lab.geometry.render.scene import NOTHING, Rendering


def sheet(rendering: Rendering) -> NDArray[np.uint8]:
    """Return (2 H, 2 W, 3) sRGB: colour with the visible boxes, depth, normals and instances.

    Depth is brighter where it is nearer (the square root of the nearest over a pixel's). Normals are x, y, z as red,
    green, blue, half for 0. Each instance has a colour of its own; instances without category are grey.
    """
    labels = instance_colors(rendering)[rendering.instances]
    color = rendering.color.copy()
    for number, (left, top, right, bottom) in enumerate(rendering.boxes.astype(int).tolist()):
        if rendering.pixels[number] and _category(rendering, number) != NOTHING:
            for edge in (np.s_[top:bottom, left], np.s_[top:bottom, right - 1], np.s_[top, left:right]):
                color[edge] = (255, 230, 40)
            color[bottom - 1, left:right] = (255, 230, 40)
    seen = rendering.instances != NOTHING
    nearest = float(rendering.depth.min()) if seen.any() else 1.0
    bright = np.sqrt(nearest / np.maximum(rendering.depth, nearest))
    depth = np.repeat(np.rint(255 * bright).astype(np.uint8)[..., None], 3, axis=2)
    normals = np.where(seen[..., None], np.rint(127.5 + 127.5 * rendering.normals), 0).astype(np.uint8)
    return np.concatenate([np.concatenate([color, depth], axis=1), np.concatenate([normals, labels], axis=1)])


def instance_colors(rendering: Rendering) -> NDArray[np.uint8]:
    """Return (N + 1, 3): a colour for each instance, and black for nothing, the last one."""
    count = len(rendering.pixels)
    colors = np.zeros((count + 1, 3), np.uint8)
    for number in range(count):
        hue = number * 0.618034 % 1.0  # neighbours differ by the golden ratio
        tone = colorsys.hsv_to_rgb(hue, 0.55 + 0.3 * (number % 2), 0.95 - 0.25 * (number % 3) / 2)
        if _category(rendering, number) == NOTHING:
            tone = (0.25, 0.25, 0.25)
        colors[number] = [round(255 * part) for part in tone]
    return colors


def _category(rendering: Rendering, number: int) -> int:
    """Return the category of an instance, ``NOTHING`` where it is not seen."""
    left, top, right, bottom = rendering.boxes[number].astype(int)
    inside = rendering.instances[top:bottom, left:right] == number
    return int(rendering.categories[top:bottom, left:right][inside][0]) if inside.any() else NOTHING
