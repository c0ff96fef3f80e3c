"""The rays of a picture, tile by tile: rays that are cast together should meet the same things."""

from __future__ import annotations

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

    def centres(self) -> Rays:
        """Return the rays through the centres of all pixels, tile by tile.

        The picture is extended to whole tiles at the right and bottom: ``picture`` leaves those rays out.
        """
        to_world = self._to_world
        down, across = ((np.arange(tiles * TILE) + 0.5).reshape(tiles, TILE) for tiles in self._tiles)
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

    def picture(self, values: NDArray) -> NDArray:
        """Return values of rays (R,) or (C, R) as a picture (H, W) or (H, W, C)."""
        height, width = self._size
        down, across = self._tiles
        if values.ndim == 1:
            grid = values.reshape(down, across, TILE, TILE).swapaxes(1, 2).reshape(down * TILE, across * TILE)
            return np.ascontiguousarray(grid[:height, :width])
        grid = values.reshape(-1, down, across, TILE, TILE).transpose(1, 3, 2, 4, 0)
        return np.ascontiguousarray(grid.reshape(down * TILE, across * TILE, -1)[:height, :width])
