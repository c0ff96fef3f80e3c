"""Frames to predict from: pictures and their calibrations in a json file, for ``stage=predict`` and Python.

The file is an object with a list ``frames``; each frame has

- ``token``: its name, which a submission calls it by;
- ``cameras``: a list of objects with ``name``, ``image`` (a path, relative to the json file) and ``projection``, 4 rows
  of 4 numbers from the frame of the rig to pixels: (u z, v z, z, 1) = P (x, y, z, 1);
- ``rig_to_ego`` and ``ego_to_global``, 4 rows of 4 numbers; where one is left out it changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from lab.data.images.opening import ImageFileError, read_image_header
from lab.data.images.pixels import read_pixels
from lab.data.text_files import read_text
from lab.errors import DataError
from lab.structures.detection3d import Detection3dSpec, MultiviewSample

MatrixRow = Annotated[list[float], Field(min_length=4, max_length=4)]
PoseMatrix = Annotated[list[MatrixRow], Field(min_length=4, max_length=4)]
_SAME = np.eye(4).tolist()


class _FrameJson(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class CameraEntry(_FrameJson):
    """A camera of a frame."""

    name: str
    image: str
    projection: PoseMatrix


class FrameEntry(_FrameJson):
    """A frame of the file."""

    token: str
    cameras: list[CameraEntry]
    rig_to_ego: PoseMatrix = _SAME
    ego_to_global: PoseMatrix = _SAME


class _FramesFile(_FrameJson):
    frames: list[FrameEntry]


@dataclass
class FrameFiles:
    """The frames of a json file as a ``KeyedDataset``, without boxes.

    Pictures that are larger than those of the training are made smaller, with their projections.

    Args:
        path: the file.
        spec: names the cameras, in the order of the network, and the size of its pictures.

    Raises:
        DataError: the file is no list of frames, or one lacks a camera of the network.
    """

    path: Path
    spec: Detection3dSpec

    aspect_ratios = None

    def __post_init__(self) -> None:
        self.frames = read_frames(self.path)
        for frame in self.frames:
            known = {camera.name: camera for camera in frame.cameras}
            missing = [name for name in self.spec.camera_names if name not in known]
            if missing or len(known) < len(frame.cameras):
                what = f"lacks {', '.join(missing)}" if missing else "has two cameras of one name"
                raise DataError(
                    f"{self.path}: frame {frame.token} {what}; the network reads {', '.join(self.spec.camera_names)}"
                )
            frame.cameras = [known[name] for name in self.spec.camera_names]
            for camera in frame.cameras:
                if problem := read_image_header(self._place(camera.image)).problem:
                    raise DataError(f"{self._place(camera.image)}: {problem} ({camera.name} of frame {frame.token})")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: tuple[int, int]) -> MultiviewSample:
        """Return the frame at ``(epoch, index)``.

        Raises:
            DataError: a picture cannot be read, or the pictures of a frame differ in size.
        """
        frame = self.frames[key[1]]
        pictures = [self._picture(camera.image) for camera in frame.cameras]
        if len({picture.shape for picture in pictures}) > 1:
            sizes = ", ".join(f"{picture.shape[2]}x{picture.shape[1]}" for picture in pictures)
            raise DataError(f"{self.path}: the pictures of frame {frame.token} differ in size: {sizes}")
        projections = torch.tensor([camera.projection for camera in frame.cameras], dtype=torch.float64)
        images, projections = fitted(torch.stack(pictures), projections, self.spec.input_shape)
        return MultiviewSample(
            images=images,
            projections=projections,
            boxes=torch.zeros(0, 9),
            labels=torch.zeros(0, dtype=torch.int64),
            frame_id=key[1],
            token=frame.token,
            rig_to_ego=torch.tensor(frame.rig_to_ego, dtype=torch.float64),
            ego_to_global=torch.tensor(frame.ego_to_global, dtype=torch.float64),
        )

    def _picture(self, name: str) -> Tensor:
        try:
            return read_pixels(self._place(name))
        except ImageFileError as error:
            raise DataError(f"{self._place(name)}: {error}") from None

    def _place(self, name: str) -> Path:
        return self.path.parent / name


def read_frames(path: Path) -> list[FrameEntry]:
    """Return the frames of a json file.

    Raises:
        DataError: it is no such file, has no frame, or two of one name.
    """
    try:
        frames = _FramesFile.model_validate_json(read_text(path)).frames
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its top"
        raise DataError(
            f"{path}: {where}: {first['msg']}; a file of frames has frames: [{{token, cameras: [{{name, image, "
            "projection}, ...], rig_to_ego, ego_to_global}, ...]"
        ) from None
    if not frames:
        raise DataError(f"{path}: it has no frames")
    token, count = Counter(frame.token for frame in frames).most_common(1)[0]
    if count > 1:
        raise DataError(f"{path}: {count} frames are called {token}; a submission needs a name for each")
    return frames


def fitted(images: Tensor, projections: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return pictures (N, 3, h, w) uint8 that fit into a shape, and the projections (N, 4, 4) of their pixels.

    Args:
        images: uint8.
        projections: float64.
        shape: (3, H, W); 0 for any.
    """
    from torchvision.transforms.v2.functional import resize

    height, width = images.shape[-2:]
    scale = min(1.0, *(most / side for most, side in zip(shape[1:], (height, width), strict=True) if most))
    if scale == 1.0:
        return images, projections
    size = [max(1, int(side * scale)) for side in (height, width)]
    change = torch.diag(torch.tensor([size[1] / width, size[0] / height, 1.0, 1.0], dtype=torch.float64))
    return resize(images, size, antialias=True), change @ projections


def write_frames(samples: Sequence[MultiviewSample], camera_names: Sequence[str], folder: Path) -> Path:
    """Write frames as ``frames.json`` with a PNG for each picture, and return its path; for examples and tests.

    Args:
        samples: the frames.
        camera_names: in the order of their pictures.
        folder: where; it is made.
    """
    from torchvision.transforms.v2.functional import to_pil_image

    frames: list[Mapping[str, Any]] = []
    for sample in samples:
        (folder / sample.token).mkdir(parents=True, exist_ok=True)
        cameras = []
        for name, image, projection in zip(camera_names, sample.images, sample.projections, strict=True):
            to_pil_image(image).save(folder / sample.token / f"{name}.png")
            cameras.append({"name": name, "image": f"{sample.token}/{name}.png", "projection": projection.tolist()})
        poses = {"rig_to_ego": sample.rig_to_ego.tolist(), "ego_to_global": sample.ego_to_global.tolist()}
        frames.append({"token": sample.token, "cameras": cameras, **poses})
    path = folder / "frames.json"
    path.write_text(json.dumps({"frames": frames}), encoding="utf-8")
    return path
