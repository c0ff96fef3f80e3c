"""Rectangles on the ground, and whether they touch.

A footprint is (x, y, length, width, yaw): the middle, the sides along and across its heading, the heading in radians.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.geometry.mesh import Floats


def corners(footprints: Floats) -> Floats:
    """Return the corners (n, 4, 2) of footprints (n, 5), counter-clockwise from the front left one."""
    signs = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    local = signs * footprints[:, None, 2:4]
    cosine, sine = np.cos(footprints[:, 4])[:, None], np.sin(footprints[:, 4])[:, None]
    turned = np.stack(
        [cosine * local[..., 0] - sine * local[..., 1], sine * local[..., 0] + cosine * local[..., 1]], axis=-1
    )
    result: Floats = turned + footprints[:, None, :2]
    return result


def touching(one: Floats, others: Floats, margin: float = 0.0) -> NDArray[np.bool_]:
    """Return which of ``others`` (n, 5) lie closer to ``one`` (5,) than ``margin`` along every one of their four axes.

    The separating axis theorem: two convex shapes are apart if their shadows are apart on the normal of some edge.
    """
    mine, theirs = corners(one[None])[0], corners(others)  # (4, 2), (n, 4, 2)
    own = np.array([one[4], one[4] + np.pi / 2])
    angles = np.concatenate(
        [np.broadcast_to(own, (len(others), 2)), np.stack([others[:, 4], others[:, 4] + np.pi / 2], axis=1)], axis=1
    )
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (n, 4, 2)
    left = np.einsum("nad,cd->nac", axes, mine)
    right = np.einsum("nad,ncd->nac", axes, theirs)
    gap = np.maximum(left.min(axis=2) - right.max(axis=2), right.min(axis=2) - left.max(axis=2))
    result: NDArray[np.bool_] = (gap < margin).all(axis=1)
    return result
