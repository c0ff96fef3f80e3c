"""Frames of large sources, kept in the cache of datasets: the tables of nuScenes take a minute and gigabytes to read.

Arrays lie in numpy files without pickled objects, everything else in json. All ranks of a machine and later runs read
what one process has made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.cached import COMPLETE, made_once
from lab.tasks.detection3d.data.nuscenes.frames import Frame, FrameSource, Shot

VERSION = 1
"""Raise it when readers find something else in the same files."""
LARGE = 32 << 20
"""Bytes of a source from which its frames are kept."""
_COLUMNS = ("boxes", "attributes", "points", "valid", "lidar")


def kept(
    identity: str, size: int, cameras: Sequence[str], read: Callable[[], dict[str, FrameSource]]
) -> dict[str, FrameSource]:
    """Return what ``read`` returns, from the cache where it is there.

    Args:
        identity: a hash of the source.
        size: its bytes; small ones are read anew.
        cameras: the cameras of each frame.
        read: makes the frames, in parts by name; the names of the sources themselves are not kept.

    Raises:
        DataError: the cache cannot be written to, or what ``read`` raises.
    """
    if size < LARGE:
        return read()
    key = hashlib.sha256(json.dumps([VERSION, identity, list(cameras)]).encode()).hexdigest()
    return load(made_once(key, lambda folder: save(read(), folder), "frames"))


def save(parts: Mapping[str, FrameSource], folder: Path) -> None:
    """Write frames into an empty folder."""
    frames = [frame for source in parts.values() for frame in source.frames]
    names = sorted({name for frame in frames for name in frame.names})
    numbers = {name: number for number, name in enumerate(names)}
    arrays: dict[str, Any] = {
        "to_pixels": np.array([[shot.to_pixels for shot in frame.shots] for frame in frames]),
        "rig_to_ego": np.array([frame.rig_to_ego for frame in frames]),
        "ego_to_global": np.array([frame.ego_to_global for frame in frames]),
        "annotated": np.array([frame.annotated for frame in frames], np.bool_),
        "counts": np.array([len(frame.boxes) for frame in frames], np.int64),
        "names": np.array([numbers[name] for frame in frames for name in frame.names], np.int64),
    }
    for column in _COLUMNS if frames else ():
        arrays[column] = np.concatenate([getattr(frame, column) for frame in frames])
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    content = {
        "names": names,
        "cameras": [shot.camera for shot in frames[0].shots] if frames else [],
        "tokens": [frame.token for frame in frames],
        "files": [[shot.file for shot in frame.shots] for frame in frames],
        "parts": {
            part: {"frames": len(source.frames), "left_out": dict(source.left_out)} for part, source in parts.items()
        },
    }
    (folder / COMPLETE).write_text(json.dumps(content), encoding="utf-8")


def load(folder: Path) -> dict[str, FrameSource]:
    """Return the frames of a folder that ``save`` has filled."""
    content = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
    frames, first = [], 0
    for number, token in enumerate(content["tokens"]):
        last = first + int(arrays["counts"][number])
        shots = zip(content["cameras"], content["files"][number], arrays["to_pixels"][number], strict=True)
        frames.append(
            Frame(
                token,
                tuple(Shot(*of) for of in shots),
                arrays["rig_to_ego"][number],
                arrays["ego_to_global"][number],
                names=tuple(content["names"][name] for name in arrays["names"][first:last]),
                annotated=bool(arrays["annotated"][number]),
                **{column: arrays[column][first:last] for column in _COLUMNS},
            )
        )
        first = last
    found, first = {}, 0
    for part, of in content["parts"].items():
        source = FrameSource(part, frames[first : first + of["frames"]])
        source.left_out.update(of["left_out"])
        found[part], first = source, first + of["frames"]
    return found
