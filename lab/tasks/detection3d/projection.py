"""Boxes as lines of a picture: their edges, seen by a camera or from above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.tasks.detection3d.poses import RealArray

_SIGNS = np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (-1, 1)], dtype=np.float64) / 2
_EDGES = np.array(
    [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7), (0, 3), (1, 2)]
)
"""Corners 0 to 3 are in front; the last two edges cross the front, so that the heading can be seen."""
NEAREST = 0.1
"""Metres before the camera at which edges are cut off."""


def corners(boxes: RealArray) -> RealArray:
    """Return the corners (n, 8, 3) of boxes (n, 9), in metres; the first four are in front."""
    local = _SIGNS * boxes[:, None, 3:6]
    cosine, sine = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    turned = (local[..., 0] * cosine - local[..., 1] * sine, local[..., 0] * sine + local[..., 1] * cosine)
    return np.stack([*turned, local[..., 2]], -1) + boxes[:, None, :3]


def edges_in_picture(
    boxes: RealArray, projection: RealArray, size: tuple[int, int]
) -> tuple[RealArray, NDArray[np.bool_]]:
    """Return the edges of boxes in pixels, and which of the boxes are seen.

    Edges are cut off where they pass behind the camera.

    Args:
        boxes: (n, 9) in the frame of the rig.
        projection: (4, 4) rig to pixels.
        size: (height, width) of the picture.

    Returns:
        (n, 14, 2, 2) x and y of both ends, NaN for an edge behind the camera; and (n,) bool: a part of the box is
        before the camera, and it or its surroundings are in the picture.
    """
    points = np.concatenate([corners(boxes), np.ones((len(boxes), 8, 1))], -1) @ projection[:3].T
    ends = points[:, _EDGES]  # (n, 14, 2, 3)
    depth = ends[..., 2]
    behind = np.less(depth, NEAREST)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (NEAREST - depth[..., :1]) / (depth[..., 1:] - depth[..., :1])
        cut = ends[..., :1, :] + share[..., None] * (ends[..., 1:, :] - ends[..., :1, :])
        ends = np.where(behind[..., None], cut, ends)
        ends = np.where((behind[..., 0] & behind[..., 1])[..., None, None], np.nan, ends)
        pixels = ends[..., :2] / ends[..., 2:]
        low, high = np.fmin.reduce(pixels, (1, 2)), np.fmax.reduce(pixels, (1, 2))
    seen: NDArray[np.bool_] = points[..., 2].max(1) >= NEAREST
    with np.errstate(invalid="ignore"):
        seen &= (high > 0).all(1) & (low < np.array(size[::-1])).all(1)
    return pixels, seen


def outlines_from_above(boxes: RealArray, pose: RealArray) -> RealArray:
    """Return the outlines (n, 4, 2) of boxes on the ground in another frame, front edge first, in metres.

    Args:
        boxes: (n, 9).
        pose: (4, 4) from the boxes' frame to the other.
    """
    found: RealArray = corners(boxes)[:, [0, 2, 6, 4]] @ pose[:2, :3].T + pose[:2, 3]
    return found
