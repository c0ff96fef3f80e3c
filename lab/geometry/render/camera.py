"""Pinhole cameras as OpenCV has them: where they stand, where points are seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lab.errors import GeometryError
from lab.geometry.mesh import Floats
from lab.geometry.render.scene import Camera


def camera_of_view(width: int, height: int, field_of_view: float, world_to_camera: Floats) -> Camera:
    """Return a camera with square pixels that looks through the middle of its picture.

    Args:
        width: pixels.
        height: pixels.
        field_of_view: horizontal, degrees.
        world_to_camera: (4, 4), for instance of ``look_at``.

    Raises:
        GeometryError: the angle or the size cannot be.
    """
    if not 0 < field_of_view < 180:
        raise GeometryError(f"a camera's field_of_view is between 0 and 180 degrees, not {field_of_view}")
    if width < 1 or height < 1:
        raise GeometryError(f"a camera has at least one pixel, not {width} x {height}")
    focal = width / 2 / np.tan(np.radians(field_of_view) / 2)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(width, height, intrinsics, np.asarray(world_to_camera, np.float64))


def look_at(position: ArrayLike, target: ArrayLike, up: ArrayLike = (0, 0, 1)) -> Floats:
    """Return (4, 4) ``world_to_camera`` of a camera at a position that looks at a target.

    Args:
        position: (3,) metres.
        target: (3,) the point in the middle of the picture.
        up: (3,) what is up in the picture; where the camera looks along it, the y axis is.

    Raises:
        GeometryError: position and target are one point.
    """
    eye = np.asarray(position, np.float64)
    forward = np.asarray(target, np.float64) - eye
    if not np.linalg.norm(forward) > 0:
        raise GeometryError(f"a camera cannot look at the point {tuple(eye.tolist())} where it stands")
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(right) < 1e-9:
        right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(forward, right), forward]
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose


def project(camera: Camera, points: ArrayLike) -> tuple[Floats, NDArray[np.float64]]:
    """Return where points of the world are seen, (n, 2) pixels, and their depth (n,) metres.

    Points that are not in front of the camera have a depth of 0 or less, and no meaningful pixel.
    """
    world = np.asarray(points, np.float64)
    inside = world @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    seen = inside @ camera.intrinsics.T
    depth = seen[:, 2]
    return seen[:, :2] / np.where(depth == 0, np.inf, depth)[:, None], depth


def check_camera(camera: Camera) -> None:
    """Refuse a camera that cannot be.

    Raises:
        GeometryError: its size; intrinsics that do not invert or do not end in (0, 0, 1); a pose that is not rigid.
    """
    if camera.width < 1 or camera.height < 1:
        raise GeometryError(f"a camera has at least one pixel, not {camera.width} x {camera.height}")
    matrix, pose = np.asarray(camera.intrinsics), np.asarray(camera.world_to_camera)
    if matrix.shape != (3, 3) or pose.shape != (4, 4):
        raise GeometryError(
            f"a camera has intrinsics of (3, 3) and world_to_camera of (4, 4), not {matrix.shape} and {pose.shape}"
        )
    if not (np.isfinite(matrix).all() and np.isfinite(pose).all()):
        raise GeometryError("a camera's intrinsics and world_to_camera are finite numbers")
    if not np.allclose(matrix[2], (0, 0, 1)) or abs(np.linalg.det(matrix)) < 1e-12:
        raise GeometryError(f"a camera's intrinsics invert and end in the row (0, 0, 1), not {matrix.tolist()}")
    rotation = pose[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
        raise GeometryError("a camera's world_to_camera turns and shifts only: its upper left (3, 3) is no rotation")
