"""The tables of nuScenes themselves: a folder of json files (``v1.0-trainval``, ``v1.0-mini``), one for each table.

Schema: docs/schema_nuscenes.md of nuscenes-devkit. Velocities are those of its ``box_velocity``: the difference to the
previous and the next annotation of the same object, over at most 1.5 seconds a side. Boxes are moved from the world to
the frame of the rig, as MMDetection3D's converter does; only a yaw is kept of their rotation there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.data.nuscenes_names import ATTRIBUTES
from lab.errors import DataError
from lab.structures.detection3d import NO_ATTRIBUTE
from lab.tasks.detection3d.data.nuscenes.frames import (
    NOT_KNOWN,
    Annotations,
    Array,
    FrameError,
    FrameSource,
    Shot,
    attribute_numbers,
    intrinsics,
    pose_of,
    rotations,
)
from lab.tasks.detection3d.data.nuscenes.names import DETECTION_NAMES, RIG
from lab.tasks.detection3d.data.nuscenes.records import TableRecords, table_rows
from lab.tasks.detection3d.data.nuscenes.splits import SPLITS, scenes_of

LONGEST_STEP = 1.5
"""Seconds between two annotations of an object above which its velocity is not known; twice that for two steps."""


def is_tables(folder: Path) -> bool:
    """Return whether a folder holds nuScenes' tables."""
    return (folder / "sample.json").is_file()


def read_tables(folder: Path, split: str | None, cameras: Sequence[str]) -> FrameSource:
    """Return the frames of a split; see ``read_scenes`` and ``frames_of``."""
    return frames_of(read_scenes(folder, cameras), folder, split)


def read_scenes(folder: Path, cameras: Sequence[str]) -> dict[str, FrameSource]:
    """Return the frames of each scene, by its name.

    Args:
        folder: of the tables (``.../v1.0-trainval``).
        cameras: the cameras that each frame must have.

    Raises:
        DataError: a table is missing or not of nuScenes' schema.
    """
    scenes = {row["token"]: row["name"] for row in table_rows(folder, "scene", ("token", "name"))}
    samples = table_rows(
        folder, "sample", ("token", "scene_token", "timestamp"), lambda row: row["scene_token"] in scenes
    )
    stamps = {row["token"]: row["timestamp"] for row in samples}
    found = {name: FrameSource(f"{folder}/{name}") for name in scenes.values()}
    shots, poses = _Sensors(folder, stamps), {}
    for row in samples:
        source = found[scenes[row["scene_token"]]]
        try:
            poses[row["token"]] = source, shots.of(row["token"], cameras)
        except FrameError as error:
            source.left_out[f"frames: {error}"].append(row["token"])
    del shots  # of nuScenes its tables take gigabytes
    boxes = _Boxes(folder, stamps)
    for token, (source, (taken, rig_to_ego, ego_to_global)) in poses.items():
        source.add(token, taken, (rig_to_ego, ego_to_global), boxes.of(token, ego_to_global @ rig_to_ego))
    return found


def frames_of(scenes: Mapping[str, FrameSource], folder: Path, split: str | None) -> FrameSource:
    """Return the frames of a split.

    Args:
        scenes: of ``read_scenes``.
        folder: of the tables, for messages.
        split: one of ``SPLITS``; None: all scenes.

    Raises:
        DataError: nuScenes has no such split, or none of its scenes is there.
    """
    wanted = scenes.keys() if split is None else scenes_of(split)
    found = FrameSource(str(folder) if split is None else f"{folder}/{split}")
    chosen = [source for name, source in scenes.items() if name in wanted]
    if not chosen:
        fits = [name for name in SPLITS if scenes_of(name) & scenes.keys()]
        raise DataError(
            f"{folder}: none of the scenes of {split or 'any split'!r} is in it; its {len(scenes)} scenes belong to "
            f"{', '.join(fits) or 'no split of nuScenes'}"
        )
    for source in chosen:
        found.frames += source.frames
        for why, names in source.left_out.items():
            found.left_out[why] += names
    return found


class _Sensors:
    """The pictures, calibrations and poses of some keyframes."""

    def __init__(self, folder: Path, stamps: Mapping[str, int]) -> None:
        sensors = {row["token"]: row["channel"] for row in table_rows(folder, "sensor", ("token", "channel"))}
        fields: tuple[str, ...] = ("token", "sensor_token", "translation", "rotation", "camera_intrinsic")
        self.calibrations = {row["token"]: row for row in table_rows(folder, "calibrated_sensor", fields)}
        self.shots: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        fields = ("sample_token", "calibrated_sensor_token", "ego_pose_token", "filename", "is_key_frame")

        def keyframe(row: dict[str, Any]) -> bool:
            return bool(row["is_key_frame"]) and row["sample_token"] in stamps

        for row in table_rows(folder, "sample_data", fields, keyframe):
            calibration = self.calibrations.get(row["calibrated_sensor_token"])
            if calibration is not None and calibration["sensor_token"] in sensors:
                self.shots[row["sample_token"]][sensors[calibration["sensor_token"]]] = row
        needed = {row["ego_pose_token"] for of in self.shots.values() for row in of.values()}
        fields = ("token", "translation", "rotation")
        self.poses = {
            row["token"]: row for row in table_rows(folder, "ego_pose", fields, lambda row: row["token"] in needed)
        }
        self._mounted: dict[str, tuple[Array, Array | None]] = {}

    def of(self, sample: str, cameras: Sequence[str]) -> tuple[list[Shot], Array, Array]:
        """Return the shots of a keyframe, its rig to ego and its ego to global.

        Raises:
            FrameError: a sensor is missing, or its calibration is none.
        """
        rig_to_ego, ego_to_global, _ = self._placed(sample, RIG)
        rig_to_global, shots = ego_to_global @ rig_to_ego, []
        for camera in cameras:
            to_ego, to_global, matrix = self._placed(sample, camera)
            assert matrix is not None
            to_camera = np.linalg.inv(to_global @ to_ego) @ rig_to_global
            shots.append(Shot(camera, str(self.shots[sample][camera]["filename"]), matrix @ to_camera))
        return shots, rig_to_ego, ego_to_global

    def _placed(self, sample: str, channel: str) -> tuple[Array, Array, Array | None]:
        """Return a sensor's sensor to ego, ego to global, and the intrinsics of a camera."""
        row = self.shots[sample].get(channel)
        if row is None:
            raise FrameError(f"it has no {channel}")
        pose = self.poses.get(row["ego_pose_token"])
        if pose is None:
            raise FrameError(f"ego_pose has no row for its {channel}")
        to_ego, matrix = self._mounting(row["calibrated_sensor_token"], channel)
        return to_ego, pose_of(pose["rotation"], pose["translation"], "the ego"), matrix

    def _mounting(self, token: str, channel: str) -> tuple[Array, Array | None]:
        if token not in self._mounted:
            row = self.calibrations[token]
            to_ego = pose_of(row["rotation"], row["translation"], f"{channel} to the ego")
            is_rig = channel == RIG
            matrix = None if is_rig else intrinsics(row["camera_intrinsic"], f"camera_intrinsic of {channel}")
            self._mounted[token] = to_ego, matrix
        return self._mounted[token]


@dataclass
class _Columns:
    """Annotations of all frames as columns, in the world; see ``Annotations``."""

    centres: Array
    sizes: Array
    quaternions: Array
    velocities: Array
    points: NDArray[np.int64]
    lidar: NDArray[np.int64]


class _Boxes:
    """The annotations of some keyframes, in the world."""

    def __init__(self, folder: Path, stamps: Mapping[str, int]) -> None:
        fields = (
            *("token", "sample_token", "instance_token", "attribute_tokens", "translation", "size", "rotation"),
            *("prev", "next", "num_lidar_pts", "num_radar_pts"),
        )
        rows = table_rows(folder, "sample_annotation", fields, lambda row: row["sample_token"] in stamps)
        categories = {row["token"]: row["name"] for row in table_rows(folder, "category", ("token", "name"))}
        instances = {
            row["token"]: categories.get(row["category_token"], "no category")
            for row in table_rows(folder, "instance", ("token", "category_token"))
        }
        attributes = {row["token"]: row["name"] for row in table_rows(folder, "attribute", ("token", "name"))}
        self.of_sample: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            self.of_sample[row["sample_token"]].append(number)
        named = (instances.get(row["instance_token"], "no category") for row in rows)
        self.names = [DETECTION_NAMES.get(name, name) for name in named]
        self.attributes = np.array([_attribute(row, attributes) for row in rows], np.int64)
        self.columns = _columns(folder, rows, stamps)

    def of(self, sample: str, rig_to_global: Array) -> Annotations:
        """Return the annotations of a keyframe in the frame of the rig."""
        if not self.names:
            return Annotations.none()
        of, columns = self.of_sample.get(sample, []), self.columns
        turn, place = rig_to_global[:3, :3], rig_to_global[:3, 3]
        heading = rotations(columns.quaternions[of])[:, :, 0] @ turn
        speed = np.concatenate([columns.velocities[of], np.zeros((len(of), 1))], axis=1) @ turn
        boxes = np.concatenate(
            [
                (columns.centres[of] - place) @ turn,
                columns.sizes[of][:, [1, 0, 2]],
                np.arctan2(heading[:, 1], heading[:, 0])[:, None],
                speed[:, :2],
            ],
            axis=1,
        )
        points = columns.points[of]
        return Annotations(
            boxes,
            tuple(self.names[row] for row in of),
            self.attributes[of] if of else attribute_numbers(0),
            points,
            points != 0,
            columns.lidar[of] != 0,
        )


def _attribute(row: Mapping[str, Any], names: Mapping[str, str]) -> int:
    tokens = row["attribute_tokens"]
    name = names.get(tokens[0]) if isinstance(tokens, list) and len(tokens) == 1 else None
    return ATTRIBUTES.index(name) if name in ATTRIBUTES else NO_ATTRIBUTE


def _columns(folder: Path, rows: TableRecords, stamps: Mapping[str, int]) -> _Columns:
    try:
        centres, sizes, quaternions = (
            np.array([row[key] for row in rows], np.float64).reshape(-1, width)
            for key, width in (("translation", 3), ("size", 3), ("rotation", 4))
        )
        lidar, radar = (np.array([row[key] for row in rows], np.int64) for key in ("num_lidar_pts", "num_radar_pts"))
        times = np.array([stamps[row["sample_token"]] for row in rows], np.float64) * 1e-6
    except (TypeError, ValueError) as error:
        raise DataError(f"{folder / 'sample_annotation.json'}: a row is not of nuScenes' schema ({error})") from None
    number_of = {row["token"]: number for number, row in enumerate(rows)}
    before, after = (np.array([number_of.get(row[key], -1) for row in rows], np.int64) for key in ("prev", "next"))
    with np.errstate(invalid="ignore", divide="ignore"):
        quaternions = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    return _Columns(
        centres,
        sizes,
        quaternions,
        velocities(centres[:, :2], times, before, after),
        np.where((lidar < 0) & (radar < 0), NOT_KNOWN, lidar.clip(min=0) + radar.clip(min=0)),
        lidar,
    )


def velocities(places: Array, times: Array, before: NDArray[np.int64], after: NDArray[np.int64]) -> Array:
    """Return the velocity of each annotation, NaN where it is not known, as nuscenes-devkit's ``box_velocity`` has it.

    Args:
        places: (n, 2) metres.
        times: (n,) seconds.
        before: (n,) row of the previous annotation of the same object, -1 for none.
        after: (n,) row of the next one.

    Returns:
        (n, 2) m/s.
    """
    own = np.arange(len(places))
    first, last = np.where(before < 0, own, before), np.where(after < 0, own, after)
    elapsed = times[last] - times[first]
    longest = np.where((before >= 0) & (after >= 0), 2 * LONGEST_STEP, LONGEST_STEP)
    known = (elapsed > 0) & (elapsed <= longest)
    found = np.full_like(places, np.nan)
    found[known] = (places[last[known]] - places[first[known]]) / elapsed[known, None]
    return found
