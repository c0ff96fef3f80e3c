"""Colours of surfaces: material slots, and textures read with the sharpness that a pixel can show."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lab.errors import GeometryError
from lab.geometry.render.scene import Instance

_codes = np.arange(256) / 255
SRGB_TO_LINEAR = np.where(_codes <= 0.04045, _codes / 12.92, ((_codes + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""IEC 61966-2-1."""


class Pyramid:
    """A texture and its halves, quarters, ... in linear light.

    Args:
        texture: (h, w, 3) uint8 sRGB.
    """

    def __init__(self, texture: NDArray[np.uint8]) -> None:
        if texture.ndim != 3 or texture.shape[2] != 3 or texture.dtype != np.uint8 or not texture.size:
            raise GeometryError(f"a texture is (h, w, 3) uint8, not {texture.shape} {texture.dtype}")
        levels = [SRGB_TO_LINEAR[texture]]
        while max(levels[-1].shape[:2]) > 1:
            levels.append(_half(levels[-1]))
        self.sizes = np.array([level.shape[:2] for level in levels])  # (height, width) of each
        self.starts = np.cumsum([0, *(height * width for height, width in self.sizes[:-1])])
        self.texels = np.concatenate([level.reshape(-1, 3) for level in levels])

    def sample(self, uvs: NDArray[np.float32], width: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return colours (n, 3), bilinear within the level of detail that fits; textures repeat.

        Args:
            uvs: (n, 2), v up.
            width: (n,) of what a pixel sees, in textures.
        """
        texels = np.sqrt(float(self.sizes[0].prod())) * width
        level = np.rint(np.log2(np.maximum(texels, 1.0))).astype(np.int64)
        np.minimum(level, len(self.sizes) - 1, out=level)
        height, across = self.sizes[level, 0], self.sizes[level, 1]
        x = (uvs[:, 0] - np.floor(uvs[:, 0])) * across - 0.5
        y = (1.0 - (uvs[:, 1] - np.floor(uvs[:, 1]))) * height - 0.5
        left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        dx, dy = (x - left).astype(np.float32)[:, None], (y - top).astype(np.float32)[:, None]
        columns, rows = (left % across, (left + 1) % across), (top % height, (top + 1) % height)
        upper, lower = (self.starts[level] + row * across for row in rows)
        texel = self.texels
        above = texel[upper + columns[0]] * (1 - dx) + texel[upper + columns[1]] * dx
        below = texel[lower + columns[0]] * (1 - dx) + texel[lower + columns[1]] * dx
        return above * (1 - dy) + below * dy


class _Pyramids:
    """Pyramids for as long as their textures live."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[NDArray[np.uint8]], Pyramid]] = {}

    def __call__(self, texture: NDArray[np.uint8]) -> Pyramid:
        key = id(texture)
        if key not in self._found:
            made = Pyramid(texture)
            self._found[key] = (weakref.ref(texture, lambda _: self._found.pop(key, None)), made)
        return self._found[key][1]


_pyramids = _Pyramids()


class Paint:
    """The colours of all slots of some instances, S in all."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        slots = [(material, one.tint) for one in instances for material in one.mesh.materials]
        self._first = np.cumsum([0, *(len(one.mesh.materials) for one in instances)])[:-1]
        colors = [np.multiply(material.color, tint) for material, tint in slots]
        self._colors = np.array(colors, np.float32).reshape(-1, 3)
        self._pyramids: list[Pyramid] = []
        self._texture = np.full(len(slots), -1)
        numbers: dict[int, int] = {}
        for place, (material, _) in enumerate(slots):
            if material.texture is not None:
                if id(material.texture) not in numbers:
                    numbers[id(material.texture)] = len(self._pyramids)
                    self._pyramids.append(_pyramids(material.texture))
                self._texture[place] = numbers[id(material.texture)]

    def colors(
        self,
        instance: NDArray[np.int32],
        slot: NDArray[np.int64],
        uvs: NDArray[np.float32],
        width: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return linear colours (n, 3) of points of surfaces; see ``Pyramid.sample``."""
        place = self._first[instance] + slot
        colors = self._colors[place]
        if self._pyramids:
            texture = self._texture[place]
            for number, pyramid in enumerate(self._pyramids):
                chosen = np.flatnonzero(texture == number)
                if len(chosen):
                    colors[chosen] *= pyramid.sample(uvs[chosen], width[chosen])
        return colors


def _half(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of blocks of 2 x 2; a last row or column of an odd size is left out, but for the only one."""
    height, width = image.shape[:2]
    rows, columns = max(height // 2, 1), max(width // 2, 1)
    tall, wide = min(height, 2), min(width, 2)
    blocks = image[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide, 3)
    return blocks.mean((1, 3), dtype=np.float32)
