"""Six calibrated cameras on a car, near to where those of nuScenes are.

Frames are right-handed and in metres. The ego frame stands on the ground below the rear axle: x forward, y left, z up.
The frame of the rig is that of nuScenes' LIDAR_TOP, on the roof: x right, y forward, z up. A camera looks along its z
axis, x right and y down, as in OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lab.geometry.mesh import Floats
from lab.geometry.render.scene import Camera


@dataclass(frozen=True)
class Mount:
    """How a camera is mounted.

    Attributes:
        name: as nuScenes calls it.
        place: (x, y, z) in the ego frame.
        yaw: degrees counter-clockwise from straight ahead.
        view: the angle between the left and the right edge of the picture, degrees.
    """

    name: str
    place: tuple[float, float, float]
    yaw: float
    view: float


MOUNTS = (
    Mount("CAM_FRONT", (1.70, 0.0, 1.51), 0.0, 64.6),
    Mount("CAM_FRONT_RIGHT", (1.55, -0.49, 1.50), -55.0, 64.6),
    Mount("CAM_FRONT_LEFT", (1.55, 0.49, 1.50), 55.0, 64.6),
    Mount("CAM_BACK", (0.03, 0.0, 1.57), 180.0, 89.3),
    Mount("CAM_BACK_LEFT", (1.02, 0.48, 1.57), 110.0, 64.6),
    Mount("CAM_BACK_RIGHT", (1.02, -0.48, 1.57), -110.0, 64.6),
)
"""In the order of MMDetection3D's infos; together they see all around."""
CAMERA_NAMES = tuple(mount.name for mount in MOUNTS)
EGO_SIZE = (4.08, 1.73)
"""Length and width of the car that carries the rig (a Renault Zoe), metres."""
EGO_CENTRE = 1.3
"""How far the middle of that car is in front of its rear axle."""

_ROOF = (0.94, 0.0, 1.84)
_TO_OPENCV = np.array(
    [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]
)  # forward, left, up to right, down, forward


@lru_cache(maxsize=1)
def rig_to_ego() -> Floats:
    """Return the (4, 4) transform of points of the rig into the ego frame."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    matrix[:3, 3] = _ROOF
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=8)
def cameras(width: int, height: int) -> tuple[Camera, ...]:
    """Return the cameras with the ego frame as their world.

    Args:
        width: of their pictures, pixels. The focal length follows from it.
        height: of their pictures; the optical axis goes through the middle.
    """
    return tuple(_camera(mount, width, height) for mount in MOUNTS)


def _camera(mount: Mount, width: int, height: int) -> Camera:
    focal = width / 2 / np.tan(np.radians(mount.view) / 2)
    intrinsics = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3] = _TO_OPENCV @ turn(-np.radians(mount.yaw))
    matrix[:3, 3] = -matrix[:3, :3] @ np.array(mount.place)
    return Camera(width, height, intrinsics, matrix)


def turn(angle: float) -> Floats:
    """Return the (3, 3) turn by an angle in radians around z, counter-clockwise seen from above."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


@lru_cache(maxsize=8)
def projections(width: int, height: int) -> Floats:
    """Return (6, 4, 4): rig to pixels, (u z, v z, z, 1) = P @ (x, y, z, 1); read-only."""
    matrices = np.stack([_projection(camera) for camera in cameras(width, height)])
    matrices.setflags(write=False)
    return matrices


def _projection(camera: Camera) -> Floats:
    padded = np.eye(4)
    padded[:3, :3] = camera.intrinsics
    result: Floats = padded @ camera.world_to_camera @ rig_to_ego()
    return result


def boxes_to_rig(boxes: Floats) -> Floats:
    """Return boxes (n, 9) of the ego frame as boxes of the rig: (x, y, z, l, w, h, yaw, vx, vy)."""
    back = np.linalg.inv(rig_to_ego())
    moved = boxes.copy()
    moved[:, :3] = boxes[:, :3] @ back[:3, :3].T + back[:3, 3]
    angle = np.arctan2(back[1, 0], back[0, 0])
    moved[:, 6] = wrap(boxes[:, 6] + angle)
    moved[:, 7:] = boxes[:, 7:] @ back[:2, :2].T
    return moved


def wrap(angles: Floats) -> Floats:
    """Return angles in -pi .. pi."""
    wrapped: Floats = np.arctan2(np.sin(angles), np.cos(angles))
    return wrapped
