"""Draws the generated scenes of ``lab.data.scenes.shapes``: random numbers, outlines, backgrounds, grain.

Every number comes from splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA
2014) and from arithmetic that is exact in the types used (integers, and float32 on dyadic fractions of less than 24
bits), so that a scene has the same bytes on every platform and under every version of numpy. The ranges of colours,
amplitudes and slopes are such that no sum leaves 0..255: nothing is clipped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_CELLS = 4  # squares of the coarse noise grid along one side
_WEIGHT = 64  # interpolation weights are whole numbers of 1/64, hence exact
_GRAIN_ROWS = 7  # how far apart the three channels read the same noise


def mix(value: int) -> int:
    """Return splitmix64's output function, a bijection of 64-bit integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Stream:
    """splitmix64: one number at a time as Python integers, many at a time as bytes."""

    def __init__(self, state: int) -> None:
        self.state = state

    def below(self, bound: int) -> int:
        """Return an integer in 0..bound-1 (multiply and shift; its bias is below bound / 2**32)."""
        self.state = (self.state + _GOLDEN) & _MASK
        return ((mix(self.state) >> 32) * bound) >> 32

    def triple(self, low: int, count: int) -> tuple[int, int, int]:
        """Return three integers in low..low+count-1, for ``count`` up to 1024."""
        value = self.below(count**3)
        return low + value % count, low + value // count % count, low + value // (count * count)

    def bytes(self, count: int) -> npt.NDArray[np.uint8]:
        """Return ``count`` random bytes, the same on machines of either byte order."""
        words = -(-count // 8)
        values = _steps(words) + np.uint64(self.state)
        self.state = (self.state + words * _GOLDEN) & _MASK
        values ^= values >> np.uint64(30)
        values *= np.uint64(0xBF58476D1CE4E5B9)
        values ^= values >> np.uint64(27)
        values *= np.uint64(0x94D049BB133111EB)
        values ^= values >> np.uint64(31)
        return values.astype("<u8", copy=False).view(np.uint8)[:count]


@lru_cache(maxsize=8)
def _steps(words: int) -> npt.NDArray[np.uint64]:
    return np.arange(1, words + 1, dtype=np.uint64) * np.uint64(_GOLDEN)


@lru_cache(maxsize=8)
def _interpolation(size: int) -> FloatArray:
    """Return the (_CELLS + 1, size) smoothstep interpolation from grid points to pixels, in whole 64ths."""
    matrix = np.zeros((_CELLS + 1, size), dtype=np.float32)
    for pixel in range(size):
        cell, rest = divmod((2 * pixel + 1) * _CELLS, 2 * size)
        numerator, denominator = rest * rest * (6 * size - 2 * rest), (2 * size) ** 3  # t * t * (3 - 2 * t)
        right = (numerator * _WEIGHT) // denominator
        matrix[cell, pixel], matrix[cell + 1, pixel] = _WEIGHT - right, right
    return matrix / np.float32(_WEIGHT)


@lru_cache(maxsize=4096)
def outline(name: str, width: int, height: int, turn: int) -> npt.NDArray[np.bool_]:
    """Return the (height, width) filled outline, which touches all four sides of its box.

    Pixel centres are compared with the outline in integers, in units of half a pixel from the middle of the box.
    """
    if turn % 2:
        return np.ascontiguousarray(outline(name, height, width, turn - 1).T)
    columns = np.abs(np.arange(1 - width, width, 2, dtype=np.int64))
    rows = np.abs(np.arange(1 - height, height, 2, dtype=np.int64))[:, None]
    if name == "ellipse":
        return columns**2 * height**2 + rows**2 * width**2 <= width**2 * height**2
    if name == "rectangle":
        return np.ones((height, width), dtype=np.bool_)
    if name == "triangle":
        reach = np.maximum(width * np.arange(1, height + 1, dtype=np.int64), height)[:, None]
        triangle = columns * height <= reach
        return np.ascontiguousarray(triangle[::-1]) if turn else triangle
    return (3 * columns <= width) | (3 * rows <= height)


def background(size: int, base: tuple[int, int, int], stream: Stream) -> FloatArray:
    """Return (3, size, size): a base colour, smooth coarse noise, and none, stripes or checks over it."""
    points = _CELLS + 1
    grid = stream.bytes(3 * points * points).reshape(3 * points, points).astype(np.float32)
    grid -= 128
    grid *= np.float32((8 + stream.below(25)) / 128)
    # Whole numbers below 256: the products stay within float32's 24 bits, so their sums are exact in any order.
    grid = np.floor(grid).reshape(3, points, points) + np.array(base, dtype=np.float32)[:, None, None]
    weights = _interpolation(size)
    down = np.matmul(grid.reshape(3 * points, points), weights).reshape(3, points, size)
    image: FloatArray = np.matmul(down.transpose(0, 2, 1).reshape(3 * size, points), weights).reshape(3, size, size)
    pattern, tint = stream.below(3), stream.triple(-20, 41)
    steps = stream.triple(0, 33)
    if pattern:
        # Phases wrap around at 256: a step of 16 means a period of 16 pixels.
        places = np.arange(size).astype(np.uint8)
        right = places * np.uint8((steps[0] - 16) & 255) + np.uint8(8 * steps[2] & 255)
        below = (places * np.uint8((steps[1] - 16) & 255))[:, None]
        wave = _triangle(right + below) if pattern == 1 else (_triangle(right) + _triangle(below)) * np.float32(0.5)
        image += np.array(tint, dtype=np.float32)[:, None, None] * wave
    return image


def _triangle(phase: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the triangle wave of period 256 in -1..1."""
    return np.minimum(phase, ~phase).astype(np.float32) * np.float32(1 / 64) - np.float32(1)


def paint(patch: FloatArray, mask: npt.NDArray[np.bool_], colour: tuple[int, int, int], stream: Stream) -> None:
    """Paint ``colour`` where ``mask`` (h, w) is True in ``patch`` (3, h, w), shaded by up to 16."""
    height, width = mask.shape
    slope = stream.triple(-8, 17)
    # The divisor is a power of two at or above the side: the shade stays exact.
    right = _places(width) * np.float32(slope[0] / (1 << (width - 1).bit_length()))
    down = _places(height) * np.float32(slope[1] / (1 << (height - 1).bit_length()))
    fill = (np.array(colour, dtype=np.float32)[:, None] + down)[:, :, None] + right
    np.copyto(patch, fill, where=mask)


@lru_cache(maxsize=2048)
def _places(count: int) -> FloatArray:
    return np.arange(count).astype(np.float32)


def grain(image: FloatArray, stream: Stream) -> npt.NDArray[np.uint8]:
    """Add fine noise to every value and return bytes.

    The channels read the same noise some rows apart. It looks like three independent noises at a third of the cost.
    """
    size = image.shape[1]
    noise = stream.bytes((size + 2 * _GRAIN_ROWS) * size).astype(np.float32)
    noise -= np.float32(127.5)
    noise *= np.float32((4 + stream.below(9)) / 128)
    for channel in range(3):
        start = channel * _GRAIN_ROWS * size
        image[channel] += noise[start : start + size * size].reshape(size, size)
    return image.astype(np.uint8)
