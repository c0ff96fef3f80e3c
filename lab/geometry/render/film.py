"""The rays of a picture, tile by tile: rays that are cast together should meet the same things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.geometry.render.scene import Camera

TILE = 4
"""Pixels along a side: 4 x 4 make a packet."""


class Rays(NamedTuple):
    """R rays from one point, in the world.

    Attributes:
        origin: (3, 1) float32.
        directions: (3, R) float32; their depth in the camera is 1.
        spacing: how far apart two neighbours are at a depth of 1.
    """

    origin: NDArray[np.float32]
    directions: NDArray[np.float32]
    spacing: float


class Film:
    """The rays of a camera's pixels, and the way back from rays to pixels."""

    def __init__(self, camera: Camera) -> None:
        self._size = camera.height, camera.width
        self._tiles = -(-camera.height // TILE), -(-camera.width // TILE)
        intrinsics = np.asarray(camera.intrinsics, np.float64)
        rotation, shift = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
        self._to_world = rotation.T @ np.linalg.inv(intrinsics)
        self._origin = (-rotation.T @ shift).astype(np.float32)[:, None]
        self._spacing = float(1 / np.sqrt(abs(np.linalg.det(intrinsics[:2, :2]))))

    def bands(self, most_rays: int) -> Iterator[slice]:
        """Yield rows of pixels that belong together: whole tiles, and no more rays than that if a row of them fits."""
        height, step = self._size[0], max(1, most_rays // (self._tiles[1] * TILE**2)) * TILE
        for top in range(0, height, step):
            yield slice(top, min(top + step, height))

    def centres(self, band: slice) -> Rays:
        """Return the rays through the centres of all pixels of a band, tile by tile.

        The picture is extended to whole tiles at the right and bottom: ``picture`` leaves those rays out.
        """
        to_world = self._to_world
        across = (np.arange(self._tiles[1] * TILE) + 0.5).reshape(-1, TILE)
        down = (band.start + np.arange(-(-(band.stop - band.start) // TILE) * TILE) + 0.5).reshape(-1, TILE)
        rows = to_world[:, 1, None, None] * down + to_world[:, 2, None, None]  # (3, tiles, TILE)
        columns = to_world[:, 0, None, None] * across
        grid = rows[:, :, None, :, None] + columns[:, None, :, None, :]
        return Rays(self._origin, grid.reshape(3, -1).astype(np.float32), self._spacing)

    def within(self, rows: NDArray[np.int64], columns: NDArray[np.int64], samples: int) -> Rays:
        """Return ``samples`` x ``samples`` rays through each of some pixels (n,), one pixel after the other."""
        to_world = self._to_world
        inside = (np.arange(samples) + 0.5) / samples
        down = to_world[:, 1, None, None] * (rows[:, None] + inside) + to_world[:, 2, None, None]  # (3, n, samples)
        across = to_world[:, 0, None, None] * (columns[:, None] + inside)
        grid = down[..., None] + across[:, :, None]
        return Rays(self._origin, grid.reshape(3, -1).astype(np.float32), self._spacing / samples)

    def picture(self, values: NDArray, band: slice) -> NDArray:
        """Return values of a band's rays (R,) or (C, R) as its part of the picture, (h, W) or (h, W, C)."""
        height, width = band.stop - band.start, self._size[1]
        across = self._tiles[1]
        if values.ndim == 1:
            grid = values.reshape(-1, across, TILE, TILE).swapaxes(1, 2).reshape(-1, across * TILE)
            return grid[:height, :width]
        channels = values.reshape(len(values), -1, across, TILE, TILE).swapaxes(2, 3)
        grid = np.empty((*channels.shape[1:], len(channels)), values.dtype)
        for channel, one in enumerate(channels):  # two thirds of the time of a transposition
            grid[..., channel] = one
        return grid.reshape(-1, across * TILE, len(values))[:height, :width]
