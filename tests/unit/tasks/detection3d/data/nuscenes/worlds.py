"""A small world and its files: nuScenes' tables, MMDetection3D's infos of 0.x and 1.x, pictures.

The infos are computed from the world by matrices of their own, not by the readers.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
ANGLES = (0.0, -60.0, 60.0, 180.0, 110.0, -110.0)
HEIGHT, WIDTH = 90, 160
STEP = 500_000  # microseconds between two keyframes
# name of the category, size (w, l, h), place in the world at time 0, velocity m/s, attribute, lidar and radar points
OBJECTS = (
    ("vehicle.car", (2.0, 4.5, 1.6), (612.0, 1605.0, 0.8), (3.0, 4.0), "vehicle.moving", 12, 1),
    ("vehicle.truck", (2.5, 8.0, 3.0), (590.0, 1590.0, 1.5), (0.0, 0.0), "vehicle.parked", 0, 2),
    ("human.pedestrian.adult", (0.7, 0.6, 1.8), (605.0, 1596.0, 0.9), (-1.0, 0.5), "pedestrian.moving", 3, 0),
    ("static_object.bicycle_rack", (3.0, 2.0, 1.2), (595.0, 1604.0, 0.6), (0.0, 0.0), "", 5, 0),
    ("movable_object.barrier", (2.2, 0.5, 1.0), (601.0, 1680.0, 0.5), (0.0, 0.0), "", 4, 0),
    ("movable_object.trafficcone", (0.4, 0.4, 0.7), (603.0, 1603.0, 0.35), (0.0, 0.0), "", 0, 0),
)
DETECTION = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "human.pedestrian.adult": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
}
CATEGORIES = {"car": 0, "truck": 1, "trailer": 2, "bus": 3, "construction_vehicle": 4, "bicycle": 5, "motorcycle": 6}
CATEGORIES |= {"pedestrian": 7, "traffic_cone": 8, "barrier": 9}
ATTRIBUTES = ("cycle.with_rider", "cycle.without_rider", "pedestrian.moving", "pedestrian.standing")
ATTRIBUTES += ("pedestrian.sitting_lying_down", "vehicle.moving", "vehicle.parked", "vehicle.stopped")
SCENES = (("scene-0061", 3), ("scene-0103", 2))  # of mini_train and of mini_val


def quaternion(axis: tuple[float, float, float], angle: float) -> list[float]:
    """Return (w, x, y, z) of a turn by ``angle`` radians around an axis."""
    unit = np.asarray(axis) / np.linalg.norm(axis)
    return [float(np.cos(angle / 2)), *(float(value) for value in np.sin(angle / 2) * unit)]


def matrix(rotation: list[float], place: list[float]) -> np.ndarray:
    """Return (4, 4) by Rodrigues' formula."""
    w, *rest = rotation
    vector = np.asarray(rest)
    cross = np.array(
        [[0, -vector[2], vector[1]], [vector[2], 0, -vector[0]], [-vector[1], vector[0], 0]], dtype=np.float64
    )
    whole = np.eye(4)
    whole[:3, :3] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    whole[:3, 3] = place
    return whole


@dataclass
class World:
    """The keyframes of two scenes."""

    tables: dict[str, list[dict[str, Any]]]
    old: list[dict[str, Any]]
    new: list[dict[str, Any]]
    scene_of: list[str]


def ego(time: float, offset: float) -> tuple[list[float], list[float]]:
    """Return rotation and place of the vehicle, which turns while it drives; ``offset`` seconds after the keyframe."""
    now = time + offset
    return quaternion((0.02, -0.01, 1.0), 0.3 + 0.2 * now), [600.0 + 5 * now, 1600.0 + 2 * now, 0.1]


def calibrations() -> dict[str, tuple[list[float], list[float]]]:
    """Return rotation and place of each sensor on the vehicle."""
    found = {"LIDAR_TOP": (quaternion((0.01, 0.02, 1.0), -np.pi / 2), [0.94, 0.0, 1.84])}
    forward = matrix([0.5, -0.5, 0.5, -0.5], [0, 0, 0])  # the camera's z along the vehicle's x
    for name, angle in zip(CAMERAS, ANGLES, strict=True):
        turn = matrix(quaternion((0, 0, 1), np.radians(angle)), [0, 0, 0]) @ forward
        found[name] = (_quaternion_of(turn[:3, :3]), [1.5 * np.cos(np.radians(angle)), 0.3, 1.5])
    return found


def _quaternion_of(turn: np.ndarray) -> list[float]:
    values, vectors = np.linalg.eig(turn)
    axis = np.real(vectors[:, np.argmin(abs(values - 1))])
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    both = [quaternion(tuple(axis), sign * angle) for sign in (1, -1)]
    return min(both, key=lambda found: float(np.abs(matrix(found, [0, 0, 0])[:3, :3] - turn).max()))


def make_world() -> World:
    """Return a world; its pictures are named as nuScenes names them."""
    sensors = calibrations()
    names = sorted({item[0] for item in OBJECTS})
    tables: dict[str, list[dict[str, Any]]] = {
        "scene": [],
        "sample": [],
        "sample_data": [],
        "ego_pose": [],
        "sample_annotation": [],
        "instance": [],
        "sensor": [
            {"token": f"s-{name}", "channel": name, "modality": "camera" if name in CAMERAS else "lidar"}
            for name in sensors
        ],
        "calibrated_sensor": [
            {
                "token": f"c-{name}",
                "sensor_token": f"s-{name}",
                "translation": list(map(float, place)),
                "rotation": turn,
                "camera_intrinsic": INTRINSIC if name.startswith("CAM") else [],
            }
            for name, (turn, place) in sensors.items()
        ],
        "category": [{"token": f"k-{name}", "name": name, "description": ""} for name in names],
        "attribute": [{"token": f"a-{name}", "name": name, "description": ""} for name in ATTRIBUTES],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "log": [{"token": "l", "logfile": "", "vehicle": "", "date_captured": "", "location": ""}],
        "map": [{"token": "m", "log_tokens": ["l"], "category": "", "filename": "maps/none.png"}],
    }
    world = World(tables, [], [], [])
    for scene, count in SCENES:
        tables["scene"].append({"token": f"t-{scene}", "name": scene, "log_token": "l", "nbr_samples": count})
        for number, item in enumerate(OBJECTS):
            tables["instance"].append({"token": f"i-{scene}-{number}", "category_token": f"k-{item[0]}"})
        for index in range(count):
            _add_frame(world, scene, index, count, sensors)
    return world


INTRINSIC = [[126.6, 0.0, 81.6], [0.0, 126.6, 49.1], [0.0, 0.0, 1.0]]


def _add_frame(world: World, scene: str, index: int, count: int, sensors: dict[str, Any]) -> None:
    token, stamp = f"f-{scene}-{index}", 1_532_402_927_647_951 + index * STEP
    time, tables = index * STEP * 1e-6, world.tables
    tables["sample"].append(
        {
            "token": token,
            "scene_token": f"t-{scene}",
            "timestamp": stamp,
            "prev": f"f-{scene}-{index - 1}" if index else "",
            "next": f"f-{scene}-{index + 1}" if index + 1 < count else "",
        }
    )
    poses = {}
    for number, name in enumerate(sensors):
        poses[name] = ego(time, -0.01 * number)
        file = f"samples/{name}/{scene}__{name}__{stamp}." + ("jpg" if name.startswith("CAM") else "pcd.bin")
        tables["ego_pose"].append(
            {"token": f"e-{token}-{name}", "rotation": poses[name][0], "translation": poses[name][1]}
        )
        row = {
            "token": f"d-{token}-{name}",
            "sample_token": token,
            "calibrated_sensor_token": f"c-{name}",
            "ego_pose_token": f"e-{token}-{name}",
            "filename": file,
            "is_key_frame": True,
            "timestamp": stamp,
        }
        tables["sample_data"] += [row, row | {"token": f"w-{token}-{name}", "is_key_frame": False, "filename": "no"}]
    rig = matrix(*poses["LIDAR_TOP"]) @ matrix(*sensors["LIDAR_TOP"])
    info: dict[str, Any] = {"token": token, "timestamp": stamp, "sweeps": [], "cams": {}}
    for key, (turn, place) in (("lidar2ego", sensors["LIDAR_TOP"]), ("ego2global", poses["LIDAR_TOP"])):
        info |= {f"{key}_rotation": turn, f"{key}_translation": place}
    for name in CAMERAS:
        to_rig = np.linalg.inv(rig) @ matrix(*poses[name]) @ matrix(*sensors[name])
        info["cams"][name] = {
            "data_path": f"./data/nuscenes/samples/{name}/{scene}__{name}__{stamp}.jpg",
            "cam_intrinsic": np.array(INTRINSIC),
            "sensor2lidar_rotation": to_rig[:3, :3],
            "sensor2lidar_translation": to_rig[:3, 3],
        }
    boxes, attributes = [], []
    for number, (_, size, start, speed, attribute, lidar, radar) in enumerate(OBJECTS):
        place = [start[0] + speed[0] * time, start[1] + speed[1] * time, start[2]]
        heading = np.arctan2(speed[1], speed[0]) if any(speed) else 0.4 * number
        turn = quaternion((0, 0, 1), float(heading))
        tables["sample_annotation"].append(
            {
                "token": f"n-{token}-{number}",
                "visibility_token": "4",
                "sample_token": token,
                "instance_token": f"i-{scene}-{number}",
                "attribute_tokens": [f"a-{attribute}"] if attribute else [],
                "translation": place,
                "size": list(size),
                "rotation": turn,
                "prev": f"n-f-{scene}-{index - 1}-{number}" if index else "",
                "next": f"n-f-{scene}-{index + 1}-{number}" if index + 1 < count else "",
                "num_lidar_pts": lidar,
                "num_radar_pts": radar,
            }
        )
        local = np.linalg.inv(rig) @ matrix(turn, place)
        velocity = np.linalg.inv(rig[:3, :3]) @ [*speed, 0.0]
        yaw = np.arctan2(local[1, 0], local[0, 0])
        boxes.append([*local[:3, 3], size[1], size[0], size[2], yaw, *velocity[:2]])
        attributes.append(attribute)
    _add_infos(world, info, np.array(boxes), attributes, scene)


def _add_infos(world: World, info: dict[str, Any], boxes: np.ndarray, attributes: list[str], scene: str) -> None:
    """Add the frame in the layouts of 0.x (boxes w, l, h, old yaw) and of 1.x."""
    points = np.array([item[5:] for item in OBJECTS])
    names = [DETECTION.get(item[0], item[0]) for item in OBJECTS]
    old = boxes[:, [0, 1, 2, 4, 3, 5, 6]]
    old[:, 6] = -old[:, 6] - np.pi / 2
    world.old.append(
        info
        | {
            "gt_boxes": old,
            "gt_names": np.array(names),
            "gt_velocity": boxes[:, 7:].copy(),
            "num_lidar_pts": points[:, 0],
            "num_radar_pts": points[:, 1],
            "valid_flag": points.sum(axis=1) > 0,
        }
    )
    images, seen = {}, {}
    for name, item in info["cams"].items():
        to_rig = np.eye(4)
        to_rig[:3, :3], to_rig[:3, 3] = item["sensor2lidar_rotation"], item["sensor2lidar_translation"]
        to_camera = np.linalg.inv(to_rig)
        images[name] = {
            "img_path": Path(item["data_path"]).name,
            "cam2img": INTRINSIC,
            "lidar2cam": to_camera.astype(np.float32).tolist(),
        }
        there = boxes[:, :3] @ to_camera[:3, :3].T + to_camera[:3, 3]
        seen[name] = [
            {"bbox_3d": [*there[row].tolist(), 1, 1, 1, 0], "attr_label": _attribute_label(attributes[row])}
            for row in range(len(boxes))
            if there[row, 2] > 0
        ]
    instances = [
        {
            "bbox_3d": box[:7].tolist(),
            "velocity": box[7:].tolist(),
            "bbox_label_3d": CATEGORIES.get(name, -1),
            "bbox_3d_isvalid": bool(of.sum() > 0),
            "num_lidar_pts": int(of[0]),
            "num_radar_pts": int(of[1]),
        }
        for box, name, of in zip(boxes, names, points, strict=True)
    ]
    lidar2ego = matrix(info["lidar2ego_rotation"], info["lidar2ego_translation"]).tolist()
    world.new.append(
        {
            "token": info["token"],
            "images": images,
            "lidar_points": {"lidar2ego": lidar2ego},
            "ego2global": matrix(info["ego2global_rotation"], info["ego2global_translation"]).tolist(),
            "instances": instances,
            "cam_instances": seen,
        }
    )
    world.scene_of.append(scene)


def _attribute_label(name: str) -> int:
    return ATTRIBUTES.index(name) if name else len(ATTRIBUTES)


def write_tables(world: World, root: Path) -> Path:
    """Write the tables and return their folder."""
    folder = root / "v1.0-mini"
    folder.mkdir(parents=True)
    for name, rows in world.tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def old_infos(world: World) -> dict[str, Any]:
    """Return the content of a file of 0.x."""
    return {"infos": world.old, "metadata": {"version": "v1.0-mini"}}


def new_infos(world: World) -> dict[str, Any]:
    """Return the content of a file of 1.x."""
    return {"metainfo": {"categories": CATEGORIES, "info_version": "1.1"}, "data_list": world.new}


def write(content: Any, path: Path) -> Path:
    """Write a pickle or json."""
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        path.write_text(json.dumps(content))
    return path


def write_pictures(world: World, root: Path) -> None:
    """Write a picture of one colour for each shot, in nuScenes' folders."""
    for row in world.tables["sample_data"]:
        if row["is_key_frame"] and row["filename"].endswith(".jpg"):
            file = root / row["filename"]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), (200, 60, 20)).save(file)
