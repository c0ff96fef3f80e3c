"""Infos of MMDetection3D: one file for a split, with the calibration and the boxes of each frame.

Before 1.0 it is ``{"infos": [...], "metadata": {...}}`` (0.x here), since then ``{"data_list": [...], "metainfo":
{...}}`` (1.x). Pickles are read by the restricted reader, which builds arrays and plain containers and runs nothing;
the same content may be json.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from lab.checking import check_file
from lab.checkpoint.unpickling import read_arrays, reason_of
from lab.data.json_files import read_json
from lab.data.nuscenes_names import ATTRIBUTES
from lab.errors import CheckpointError, DataError, closest
from lab.tasks.detection3d.data.nuscenes.frames import (
    NOT_KNOWN,
    Annotations,
    Array,
    FrameError,
    FrameSource,
    Shot,
    attribute_numbers,
    intrinsics,
    numbers,
    pose,
    pose_of,
)

SUFFIXES = (".pkl", ".json")
MATCHED = 0.05
"""Metres: the farthest that a box of a camera may be from the box of the rig that it repeats; measured: 2e-6."""
_RAISED = (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, MemoryError)


def read_infos(path: Path, cameras: Sequence[str]) -> FrameSource:
    """Return the frames of a file of infos, boxes in the order that it has.

    Args:
        path: ``.pkl`` or ``.json``.
        cameras: the cameras that each frame must have.

    Raises:
        DataError: the file is missing, damaged, names code, or is not of this layout.
    """
    check_file(path, may_be_empty=False)
    content = read_json(path) if path.suffix == ".json" else _unpickled(path)
    found = content if isinstance(content, dict) else {}
    source = FrameSource(str(path))
    if isinstance(found.get("infos"), list):
        _read_all(source, found["infos"], lambda info: _read_old(source, info, cameras))
    elif isinstance(found.get("data_list"), list):
        names = _label_names(found.get("metainfo"), path)
        _read_all(source, found["data_list"], lambda info: _read_new(source, info, cameras, names))
    else:
        keys = ", ".join(map(str, list(found)[:5])) if found else type(content).__name__
        raise DataError(
            f"{path}: no infos of MMDetection3D, which hold a list 'infos' (0.x) or 'data_list' (1.x); it has {keys}"
        )
    return source


def _unpickled(path: Path) -> Any:
    try:
        return read_arrays(path)
    except (CheckpointError, OSError, *_RAISED) as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}") from error


def _read_all(source: FrameSource, infos: list[Any], read: Callable[[Mapping[str, Any]], None]) -> None:
    seen: set[str] = set()
    for number, info in enumerate(infos):
        token = info.get("token") if isinstance(info, dict) else None
        if not isinstance(token, str) or not token:
            source.left_out["frames without a token"].append(f"number {number}")
            continue
        if token in seen:
            source.left_out["frames that stand in the file again"].append(token)
            continue
        seen.add(token)
        try:
            read(info)
        except FrameError as error:
            source.left_out[f"frames: {error}"].append(token)


def _read_old(source: FrameSource, info: Mapping[str, Any], cameras: Sequence[str]) -> None:
    shots = []
    for name, item in _asked(info, "cams", cameras):
        sensor = pose_of(
            _of(item, "sensor2lidar_rotation", name), _of(item, "sensor2lidar_translation", name), f"{name} to the rig"
        )
        matrix = intrinsics(_of(item, "cam_intrinsic", name), f"cam_intrinsic of {name}")
        shots.append(Shot(name, _file(item, "data_path", name), matrix @ np.linalg.inv(sensor)))
    poses = (
        pose_of(_of(info, "lidar2ego_rotation"), _of(info, "lidar2ego_translation"), "lidar2ego"),
        pose_of(_of(info, "ego2global_rotation"), _of(info, "ego2global_translation"), "ego2global"),
    )
    source.add(info["token"], shots, poses, _old_boxes(info) if "gt_boxes" in info else Annotations.none())


def _old_boxes(info: Mapping[str, Any]) -> Annotations:
    boxes = _rows(info["gt_boxes"], (7, 9), "gt_boxes")
    count = len(boxes)
    names = [str(name) for name in _list(info.get("gt_names"), "gt_names")]
    if boxes.shape[1] == 7:
        speeds = info.get("gt_velocity")
        speed = np.full((count, 2), np.nan) if speeds is None else _rows(speeds, (2,), "gt_velocity")
        _same_number({"gt_velocity": len(speed)}, count)
        boxes = np.concatenate([boxes, speed], axis=1)
    lidar, radar = (_counts(info.get(key), count, key) for key in ("num_lidar_pts", "num_radar_pts"))
    valid = info.get("valid_flag")
    flags = _any_points(lidar, radar) if valid is None else np.asarray(valid).astype(np.bool_).reshape(-1)
    _same_number({"gt_names": len(names), "valid_flag": len(flags)}, count)
    points = _sum_of_points(lidar, radar)
    return Annotations(boxes, tuple(names), attribute_numbers(count), points, flags, lidar != 0)


def _read_new(source: FrameSource, info: Mapping[str, Any], cameras: Sequence[str], names: Mapping[int, str]) -> None:
    shots, to_camera = [], {}
    for name, item in _asked(info, "images", cameras):
        to_camera[name] = pose(_of(item, "lidar2cam", name), f"lidar2cam of {name}")
        matrix = intrinsics(_of(item, "cam2img", name), f"cam2img of {name}")
        shots.append(Shot(name, _file(item, "img_path", name), matrix @ to_camera[name]))
    lidar = info.get("lidar_points")
    poses = (
        pose(_of(lidar if isinstance(lidar, dict) else {}, "lidar2ego", "lidar_points"), "lidar2ego"),
        pose(_of(info, "ego2global"), "ego2global"),
    )
    found = Annotations.none()
    if "instances" in info:
        found = _new_boxes(_list(info["instances"], "instances"), names)
        found.attributes = _attributes(info.get("cam_instances"), to_camera, found.boxes)
    source.add(info["token"], shots, poses, found)


def _new_boxes(instances: list[Any], names: Mapping[int, str]) -> Annotations:
    if not all(isinstance(item, dict) for item in instances):
        raise FrameError("an instance is no mapping")
    count = len(instances)
    boxes = _rows([_of(item, "bbox_3d") for item in instances], (7, 9), "bbox_3d") if count else np.zeros((0, 7))
    if boxes.shape[1] == 7:
        speed = _rows([item.get("velocity", (np.nan, np.nan)) for item in instances], (2,), "velocity")
        boxes = np.concatenate([boxes, speed.reshape(-1, 2)], axis=1)
    labels = [item.get("bbox_label_3d", item.get("bbox_label")) for item in instances]
    said = tuple(names.get(label, f"label {label}") if _whole(label) else f"label {label}" for label in labels)
    lidar, radar = (
        _counts([item.get(key, NOT_KNOWN) for item in instances], count, key)
        for key in ("num_lidar_pts", "num_radar_pts")
    )
    seen = _any_points(lidar, radar)
    flags = [bool(item.get("bbox_3d_isvalid", seen[row])) for row, item in enumerate(instances)]
    points = _sum_of_points(lidar, radar)
    return Annotations(boxes, said, attribute_numbers(count), points, np.asarray(flags, np.bool_), lidar != 0)


def _attributes(by_camera: Any, to_camera: Mapping[str, Array], boxes: Array) -> NDArray[np.int64]:
    """Return the attribute of each box, which 1.x keeps with the cameras that see it: the nearest box is the same."""
    found = attribute_numbers(len(boxes))
    if not isinstance(by_camera, dict) or not len(boxes):
        return found
    for name, matrix in to_camera.items():
        items = [item for item in by_camera.get(name) or () if isinstance(item, dict) and _is_attribute(item)]
        if not items:
            continue
        centres = _rows([_of(item, "bbox_3d", "cam_instances") for item in items], (7, 9), "bbox_3d of cam_instances")
        there = boxes[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
        distance = np.linalg.norm(there[None] - centres[:, None, :3], axis=-1)
        nearest = distance.argmin(axis=1)
        for row, item in enumerate(items):
            if distance[row, nearest[row]] < MATCHED:
                found[nearest[row]] = item["attr_label"]
    return found


def _is_attribute(item: Mapping[str, Any]) -> bool:
    label = item.get("attr_label")
    return _whole(label) and 0 <= label < len(ATTRIBUTES)


def _label_names(metainfo: Any, path: Path) -> dict[int, str]:
    """Return the class of each label; several names of one label are joined."""
    found = metainfo if isinstance(metainfo, dict) else {}
    for key in ("categories", "classes", "CLASSES"):
        value = found.get(key)
        if isinstance(value, dict) and value and all(_whole(label) for label in value.values()):
            names: dict[int, list[str]] = {}
            for name, label in value.items():
                names.setdefault(int(label), []).append(str(name))
            return {label: " or ".join(of) for label, of in names.items()}
        if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
            return dict(enumerate(value))
    raise DataError(f"{path}: its metainfo names no classes; 1.x has 'categories' there, a label for each name")


def _asked(info: Mapping[str, Any], key: str, cameras: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    items = _of(info, key)
    if not isinstance(items, dict):
        raise FrameError(f"its {key!r} are no mapping of cameras")
    for name in cameras:
        if not isinstance(items.get(name), dict):
            raise FrameError(f"it has no camera {name}{closest(name, map(str, items))}")
    return [(name, items[name]) for name in cameras]


def _of(item: Mapping[str, Any], key: str, whose: str = "") -> Any:
    if item.get(key) is None:
        raise FrameError(f"{f'{whose} has' if whose else 'it has'} no {key!r}")
    return item[key]


def _file(item: Mapping[str, Any], key: str, whose: str) -> str:
    name = _of(item, key, whose)
    if not isinstance(name, str) or not name:
        raise FrameError(f"{key} of {whose} is no name of a file")
    return name


def _list(value: Any, what: str) -> list[Any]:
    if isinstance(value, np.ndarray):
        return list(value.tolist()) if value.ndim == 1 else [value]
    if not isinstance(value, list | tuple):
        raise FrameError(f"{what} is no list")
    return list(value)


def _rows(value: Any, widths: Sequence[int], what: str) -> Array:
    """Return (n, width) numbers, not all of which need be finite."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise FrameError(f"{what} is no array of numbers") from None
    if array.size == 0:
        return np.zeros((0, widths[0]))
    if array.ndim != 2 or array.shape[1] not in widths:
        raise FrameError(f"{what} has the shape {array.shape}, and not (n, {' or '.join(map(str, widths))})")
    return array


def _counts(value: Any, count: int, what: str) -> NDArray[np.int64]:
    if value is None:
        return np.full(count, NOT_KNOWN, np.int64)
    array = numbers(value, ((count,),), what)
    return array.astype(np.int64)


def _any_points(lidar: NDArray[np.int64], radar: NDArray[np.int64]) -> NDArray[np.bool_]:
    return _sum_of_points(lidar, radar) != 0


def _sum_of_points(lidar: NDArray[np.int64], radar: NDArray[np.int64]) -> NDArray[np.int64]:
    known = (lidar >= 0) | (radar >= 0)
    return np.where(known, lidar.clip(min=0) + radar.clip(min=0), NOT_KNOWN)


def _same_number(lengths: Mapping[str, int], count: int) -> None:
    for key, length in lengths.items():
        if length != count:
            raise FrameError(f"{key} has {length} entries for {count} boxes")


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
