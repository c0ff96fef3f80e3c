"""Boxes of the rig's frame as boxes of the global frame, in which nuScenes compares and stores them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

RealArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class GlobalBoxes:
    """Boxes in the global frame.

    Attributes:
        centers: (n, 3) metres.
        sizes: (n, 3) length, width, height in metres.
        rotations: (n, 3, 3) from the box's own axes (heading, left, up).
        velocities: (n, 2) m/s; NaN where unknown.
        offsets: (n, 3) metres from the ego vehicle, in the global frame's axes.
    """

    centers: RealArray
    sizes: RealArray
    rotations: RealArray
    velocities: RealArray
    offsets: RealArray

    @property
    def yaws(self) -> RealArray:
        """(n,) radians: where the heading points in the plane."""
        found: RealArray = np.arctan2(self.rotations[:, 1, 0], self.rotations[:, 0, 0])
        return found

    @property
    def distances(self) -> RealArray:
        """(n,) metres in the plane from the ego vehicle."""
        found: RealArray = np.sqrt((self.offsets[:, :2] ** 2).sum(1))
        return found

    def quaternions(self) -> RealArray:
        """Return the rotations as (n, 4) unit quaternions (w, x, y, z) with w >= 0."""
        from scipy.spatial.transform import Rotation

        found: RealArray = Rotation.from_matrix(self.rotations).as_quat(canonical=True)[:, [3, 0, 1, 2]]
        return found

    def take(self, rows: NDArray[Any]) -> GlobalBoxes:
        """Return some of the boxes."""
        return GlobalBoxes(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def to_global(boxes: RealArray, rig_to_ego: RealArray, ego_to_global: RealArray) -> GlobalBoxes:
    """Return boxes (n, 9) of rigs in the global frame.

    Args:
        boxes: (n, 9) (x, y, z, l, w, h, yaw, vx, vy) in the frame of the rig.
        rig_to_ego: (n, 4, 4), of the frame of each box.
        ego_to_global: (n, 4, 4).
    """
    pose = ego_to_global @ rig_to_ego
    turn, yaw = pose[:, :3, :3], boxes[:, 6]
    own = np.zeros((len(boxes), 3, 3))
    own[:, 0, 0] = own[:, 1, 1] = np.cos(yaw)
    own[:, 1, 0] = np.sin(yaw)
    own[:, 0, 1] = -own[:, 1, 0]
    own[:, 2, 2] = 1
    centers = (turn @ boxes[:, :3, None])[..., 0] + pose[:, :3, 3]
    return GlobalBoxes(
        centers=centers,
        sizes=boxes[:, 3:6],
        rotations=turn @ own,
        velocities=(turn[:, :2, :2] @ boxes[:, 7:9, None])[..., 0],
        offsets=centers - ego_to_global[:, :3, 3],
    )
