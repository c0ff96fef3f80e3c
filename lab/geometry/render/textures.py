"""Colours of surfaces: material slots, and textures read with the sharpness that a pixel can show."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence

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
        texels = np.concatenate([level.reshape(-1, 3) for level in levels])
        self.texels = np.pad(texels, ((0, 0), (0, 1)))  # numpy takes rows of 16 bytes twice as fast as those of 12

    def sample(self, u: NDArray[np.float32], v: NDArray[np.float32], width: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return colours (3, n), bilinear within the level of detail that fits; textures repeat.

        Args:
            u: (n,) from left to right.
            v: (n,) from the bottom up.
            width: (n,) of what a pixel sees, in textures.
        """
        texels = math.sqrt(self.sizes[0].prod()) * width
        level = np.rint(np.log2(np.maximum(texels, 1.0))).astype(np.int64)
        np.minimum(level, len(self.sizes) - 1, out=level)
        height, across, start = (np.take(values, level) for values in (*self.sizes.T, self.starts))
        left, right, dx = _between(u - np.floor(u), across)
        top, bottom, dy = _between(1 - (v - np.floor(v)), height)
        top, bottom = start + top * across, start + bottom * across
        above = _mix(self.texels.take(top + left, axis=0), self.texels.take(top + right, axis=0), dx)
        below = _mix(self.texels.take(bottom + left, axis=0), self.texels.take(bottom + right, axis=0), dx)
        return _mix(above, below, dy)[:, :3].T


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


class SlotColors:
    """The colours of all slots of some instances, S in all.

    Attributes:
        first: (N,) int64 first slot of each instance.
        colors: (3, S) float32 linear.
    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        slots = [(material, one.tint) for one in instances for material in one.mesh.materials]
        self.first = np.cumsum([0, *(len(one.mesh.materials) for one in instances)])[:-1]
        colors = [np.multiply(material.color, tint) for material, tint in slots]
        self.colors = np.ascontiguousarray(np.array(colors).reshape(-1, 3).T, np.float32)
        wrong = np.flatnonzero(~(np.isfinite(self.colors) & (self.colors >= 0)).all(0))
        if len(wrong):
            material, tint = slots[wrong[0]]
            raise GeometryError(
                f"material {material.name!r} has a colour of three numbers of 0 or more, as has its tint, not "
                f"{material.color} and {tint}"
            )
        self._pyramids: list[Pyramid] = []
        self._textures = np.full(len(slots), -1, np.int16)
        numbers: dict[int, int] = {}
        for place, (material, _) in enumerate(slots):
            if material.texture is not None:
                if id(material.texture) not in numbers:
                    numbers[id(material.texture)] = len(self._pyramids)
                    self._pyramids.append(_pyramids(material.texture))
                self._textures[place] = numbers[id(material.texture)]

    def textured(self, slots: NDArray[np.int64]) -> Iterator[tuple[Pyramid, NDArray[np.int64]]]:
        """Yield each texture with the points that have it.

        Args:
            slots: (M,) of points.
        """
        if self._pyramids:
            textures = self._textures[slots]
            present = np.bincount(textures + 1, minlength=len(self._pyramids) + 1)[1:]
            for number in np.flatnonzero(present):
                yield self._pyramids[number], np.flatnonzero(textures == number)


def _mix(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    second -= first
    second *= share[:, None]
    second += first
    return second


def _between(
    place: NDArray[np.float32], size: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the two texels around places 0..1 along one side, and the share of the second."""
    texel = place * size.astype(np.float32)
    texel -= np.float32(0.5)
    whole = np.floor(texel)
    first = whole.astype(np.int64)
    second = first + 1
    first += size * (first < 0)
    second *= second < size
    return first, second, texel - whole


def _half(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of blocks of 2 x 2; a last row or column of an odd size is left out, but for the only one."""
    height, width = image.shape[:2]
    rows, columns = max(height // 2, 1), max(width // 2, 1)
    tall, wide = min(height, 2), min(width, 2)
    blocks = image[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide, 3)
    return blocks.mean((1, 3), dtype=np.float32)
