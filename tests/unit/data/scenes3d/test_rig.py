"""The rig: axes by hand, projections against a pinhole written out, a view all around."""

from __future__ import annotations

import numpy as np

from lab.data.scenes3d.rig import CAMERA_NAMES, MOUNTS, boxes_to_rig, cameras, projections, rig_to_ego

WIDTH, HEIGHT = 160, 96


def project(point: tuple[float, float, float]) -> np.ndarray:
    """Return (6, 3): u, v, z of a point of the rig in every camera."""
    found = projections(WIDTH, HEIGHT) @ np.array([*point, 1.0])
    return np.column_stack([found[:, 0] / found[:, 2], found[:, 1] / found[:, 2], found[:, 2]])


def test_a_point_straight_ahead_is_in_the_middle_of_the_front_camera() -> None:
    # The rig's y points forward; the camera is 1.70 - 0.94 m ahead of the rig and 1.84 - 1.51 m below it.
    u, v, z = project((0.0, 10.76, -0.33))[CAMERA_NAMES.index("CAM_FRONT")]
    assert np.allclose([u, v, z], [80.0, 48.0, 10.0])


def test_right_is_right_and_down_is_down() -> None:
    # 1 m to the right and 1 m down at a depth of 10 m: focal / 10 pixels; focal = 80 / tan(32.3 degrees).
    focal = 80 / 0.63217
    u, v, _ = project((1.0, 10.76, -1.33))[CAMERA_NAMES.index("CAM_FRONT")]
    assert np.allclose([u - 80.0, v - 48.0], focal / 10, rtol=1e-4)
    back = project((1.0, -20.0, -0.3))
    assert back[CAMERA_NAMES.index("CAM_BACK"), 0] < 80.0  # what is at the right appears at the left behind
    assert back[CAMERA_NAMES.index("CAM_FRONT"), 2] < 0


def test_a_side_camera_written_out() -> None:
    number = CAMERA_NAMES.index("CAM_BACK_RIGHT")
    mount, camera = MOUNTS[number], cameras(WIDTH, HEIGHT)[number]
    point = np.array([6.0, -3.0, -1.0])
    ego = np.array([point[1] + 0.94, -point[0], point[2] + 1.84])
    away = ego - np.array(mount.place)
    angle = np.radians(mount.yaw)
    ahead = away[0] * np.cos(angle) + away[1] * np.sin(angle)
    right = away[0] * np.sin(angle) - away[1] * np.cos(angle)
    focal = camera.intrinsics[0, 0]
    expected = [80 + focal * right / ahead, 48 - focal * away[2] / ahead, ahead]
    assert np.allclose(project(tuple(point))[number], expected)


def test_the_cameras_see_all_around() -> None:
    angles = np.linspace(-np.pi, np.pi, 721)
    points = np.stack([30 * np.cos(angles), 30 * np.sin(angles), -np.ones(721), np.ones(721)])
    seen = projections(WIDTH, HEIGHT) @ points
    u = seen[:, 0] / seen[:, 2]
    visible = (seen[:, 2] > 0) & (u >= 0) & (u < WIDTH)
    assert visible.any(axis=0).all()
    assert visible.sum() / visible.shape[1] < 1.5  # and few directions are seen twice


def test_boxes_turn_with_the_frame() -> None:
    box = np.array([[10.94, 2.0, 0.84, 4.0, 2.0, 1.5, 0.0, 5.0, 0.0]])
    moved = boxes_to_rig(box)[0]
    # 10 m ahead, 2 m to the left; it heads forward, which is the y axis of the rig.
    assert np.allclose(moved, [-2.0, 10.0, -1.0, 4.0, 2.0, 1.5, np.pi / 2, 0.0, 5.0])
    assert np.allclose(rig_to_ego() @ [-2.0, 10.0, -1.0, 1.0], [10.94, 2.0, 0.84, 1.0])
