"""Compare what lab reads from nuScenes' tables with what nuscenes-devkit reads, number by number.

    python scripts/compare_nuscenes.py --install build/devkit
    python scripts/compare_nuscenes_tables.py --devkit build/devkit --tables data/nuscenes/v1.0-mini --split mini_val

The devkit is installed into a folder of its own (``compare_nuscenes.py`` says why).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.nuscenes_names import ATTRIBUTES, CAMERAS
from lab.tasks.detection3d.data.nuscenes.frames import Array, Frame
from lab.tasks.detection3d.data.nuscenes.names import DETECTION_NAMES, RIG
from lab.tasks.detection3d.data.nuscenes.tables import read_tables

BOUNDS = {"centre": 1e-9, "size": 1e-12, "yaw": 1e-9, "velocity": 1e-9, "projection": 1e-6, "pose": 1e-9}
"""The largest differences in metres, radians, m/s, pixels times metres."""


class Comparison:
    """The largest differences, by name."""

    def __init__(self) -> None:
        self.worst: dict[str, float] = dict.fromkeys(BOUNDS, 0.0)
        self.boxes = self.wrong = 0

    def add(self, name: str, found: Array, expected: Array) -> None:
        """Note a difference; what is unknown on one side must be so on the other."""
        if not np.array_equal(np.isnan(found), np.isnan(expected)):
            self.worst[name] = np.inf
        elif found.size:
            self.worst[name] = max(self.worst[name], float(np.nanmax(np.abs(found - expected), initial=0)))


def compare(devkit: Any, frames: Sequence[Frame]) -> Comparison:
    """Return how far the frames are from the devkit's."""
    from nuscenes.eval.common.utils import quaternion_yaw
    from pyquaternion import Quaternion

    found = Comparison()
    for frame in frames:
        sample = devkit.get("sample", frame.token)
        _, boxes, _ = devkit.get_sample_data(sample["data"][RIG])
        to_rig = [Quaternion(of["rotation"]).inverse.rotation_matrix for of in _placed(devkit, sample, RIG)]
        speeds = [np.array([*devkit.box_velocity(token)[:2], 0.0]) for token in sample["anns"]]
        yaws = np.array([quaternion_yaw(box.orientation) for box in boxes])
        found.add("centre", frame.boxes[:, :3], np.array([box.center for box in boxes]))
        found.add("size", frame.boxes[:, 3:6], np.array([box.wlh for box in boxes])[:, [1, 0, 2]])
        found.add("yaw", (frame.boxes[:, 6] - yaws + np.pi) % (2 * np.pi) - np.pi, np.zeros(len(yaws)))
        found.add("velocity", frame.boxes[:, 7:], np.array([(to_rig[1] @ to_rig[0] @ of)[:2] for of in speeds]))
        _compare_words(found, devkit, frame, sample)
        for matrix, of in zip((frame.ego_to_global, frame.rig_to_ego), _placed(devkit, sample, RIG), strict=True):
            found.add("pose", matrix[:3, :3], Quaternion(of["rotation"]).rotation_matrix)
            found.add("pose", matrix[:3, 3], np.array(of["translation"]))
        for shot in frame.shots:
            _, calibration = _placed(devkit, sample, shot.camera)
            seen = [_moved(devkit, sample, shot.camera, token) for token in sample["anns"]]
            expected = np.array(seen) @ np.array(calibration["camera_intrinsic"]).T
            whole = np.concatenate([frame.boxes[:, :3], np.ones((len(boxes), 1))], axis=1)
            found.add("projection", (whole @ shot.to_pixels.T)[:, :3], expected)
    return found


def _placed(devkit: Any, sample: Any, channel: str) -> tuple[Any, Any]:
    """Return the rows of the vehicle's pose and of the calibration of a sensor."""
    data = devkit.get("sample_data", sample["data"][channel])
    calibration = devkit.get("calibrated_sensor", data["calibrated_sensor_token"])
    return devkit.get("ego_pose", data["ego_pose_token"]), calibration


def _moved(devkit: Any, sample: Any, channel: str, token: str) -> Array:
    """Return the centre of an annotation in the frame of a sensor."""
    from pyquaternion import Quaternion

    box = devkit.get_box(token)
    for of in _placed(devkit, sample, channel):
        box.translate(-np.array(of["translation"]))
        box.rotate(Quaternion(of["rotation"]).inverse)
    centre: Array = box.center
    return centre


def _compare_words(found: Comparison, devkit: Any, frame: Frame, sample: Any) -> None:
    """Count boxes whose class, attribute or number of points differs."""
    for row, token in enumerate(sample["anns"]):
        annotation = devkit.get("sample_annotation", token)
        name = annotation["category_name"]
        attributes = [devkit.get("attribute", of)["name"] for of in annotation["attribute_tokens"]]
        attribute = ATTRIBUTES[frame.attributes[row]] if frame.attributes[row] >= 0 else None
        same = (
            frame.names[row] == DETECTION_NAMES.get(name, name),
            attributes == ([] if attribute is None else [attribute]),
            frame.points[row] == annotation["num_lidar_pts"] + annotation["num_radar_pts"],
        )
        found.boxes += 1
        found.wrong += not all(same)


def main(words: Sequence[str] | None = None) -> int:
    """Compare, print, and return 1 if something is further apart than ``BOUNDS``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devkit", type=Path, required=True, help="the folder that it was installed into")
    parser.add_argument("--tables", type=Path, required=True, help="a folder of tables, as data/nuscenes/v1.0-mini")
    parser.add_argument("--split", help="an official split; without it all scenes")
    options = parser.parse_args(words)
    if not (options.devkit / "nuscenes").is_dir():
        parser.error(
            f"no nuscenes-devkit in {options.devkit}; scripts/compare_nuscenes.py --install FOLDER puts it there"
        )
    sys.path.append(str(options.devkit))
    from nuscenes.nuscenes import NuScenes

    frames = read_tables(options.tables, options.split, CAMERAS).frames
    found = compare(NuScenes(options.tables.name, str(options.tables.parent), verbose=False), frames)
    print(f"{len(frames)} frames, {found.boxes} boxes, {found.wrong} with another class, attribute or number of points")
    for name, bound in BOUNDS.items():
        print(f"{name:>12}  {found.worst[name]:.1e}  (at most {bound:.0e})")
    return int(found.wrong > 0 or any(found.worst[name] > bound for name, bound in BOUNDS.items()))


if __name__ == "__main__":
    sys.exit(main())
