"""The rays of a picture, tile by tile: rays that are cast together should meet the same things."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.geometry.render.scene import Camera

TILE = 4
"""Pixels along a side: 4 x 4 make a packet."""


class Film:
    """Rays through the centres of a camera's pixels, and the way back from rays to pixels.

    The picture is extended to whole tiles at the right and bottom: R rays, one or more for each pixel.

    Attributes:
        origin: (3, 1) float32 the camera's position in the world.
        directions: (3, R) float32 in the world; their depth in the camera is 1.
        focal: geometric mean of the focal lengths, pixels.
    """

    def __init__(self, camera: Camera) -> None:
        self._size = camera.height, camera.width
        self._tiles = -(-camera.height // TILE), -(-camera.width // TILE)
        intrinsics = np.asarray(camera.intrinsics, np.float64)
        rotation, shift = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
        to_world = rotation.T @ np.linalg.inv(intrinsics)
        down, across = (
            (np.arange(tiles * TILE) + 0.5).reshape(tiles, TILE).astype(np.float64) for tiles in self._tiles
        )
        rows = to_world[:, 1, None, None] * down + to_world[:, 2, None, None]  # (3, tiles, TILE)
        columns = to_world[:, 0, None, None] * across
        grid = rows[:, :, None, :, None] + columns[:, None, :, None, :]
        self.directions = grid.reshape(3, -1).astype(np.float32)
        self.origin = (-rotation.T @ shift).astype(np.float32)[:, None]
        self.focal = float(np.sqrt(abs(np.linalg.det(intrinsics[:2, :2]))))

    def picture(self, values: NDArray) -> NDArray:
        """Return values of rays (R,) or (C, R) as a picture (H, W) or (H, W, C)."""
        height, width = self._size
        down, across = self._tiles
        if values.ndim == 1:
            grid = values.reshape(down, across, TILE, TILE).swapaxes(1, 2).reshape(down * TILE, across * TILE)
            return np.ascontiguousarray(grid[:height, :width])
        grid = values.reshape(-1, down, across, TILE, TILE).transpose(1, 3, 2, 4, 0)
        return np.ascontiguousarray(grid.reshape(down * TILE, across * TILE, -1)[:height, :width])
