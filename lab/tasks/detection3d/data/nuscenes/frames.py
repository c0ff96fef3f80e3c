"""A frame of nuScenes as read from any source, the checks that all readers share, and the conventions of boxes.

MMDetection3D before 1.0 (rc0) kept boxes as (x, y, z, w, l, h, yaw) with a yaw that counts clockwise from the -y axis;
since then they are (x, y, z, l, w, h, yaw) with yaw counter-clockwise from the x axis, which is that of the house.
Neither a file nor its layout says which it has. Both have the centre at half of the height.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lab.errors import DataError
from lab.structures.detection3d import NO_ATTRIBUTE
from lab.tasks.detection3d.data.nuscenes.names import LONG

Array = NDArray[np.float64]
BoxOrder = Literal["auto", "lwh", "wlh"]
SURE = 0.9
"""The share of long boxes that must agree on the order of length and width."""
NOT_KNOWN = -1
_NEAR_ONE = 0.02


class FrameError(Exception):
    """A frame cannot be used; the message says why in a few words, without the frame's name."""


@dataclass(frozen=True)
class Shot:
    """What one camera saw.

    Attributes:
        camera: its name.
        file: the name of the picture as the source has it.
        to_pixels: (4, 4) rig to pixels of the stored picture: (u z, v z, z, 1) = P @ (x, y, z, 1).
    """

    camera: str
    file: str
    to_pixels: Array


@dataclass(frozen=True)
class Frame:
    """A keyframe.

    Attributes:
        token: its name in nuScenes.
        shots: one for each camera that is asked for, in that order.
        rig_to_ego: (4, 4).
        ego_to_global: (4, 4).
        boxes: (n, 9) as ``lab.structures.detection3d`` has them, once ``in_our_order`` was applied.
        names: n class names, those of the detection task where it has one.
        attributes: (n,) int64 index into ``ATTRIBUTES``, or ``NO_ATTRIBUTE``.
        points: (n,) int64 points of lidar and radar inside, ``NOT_KNOWN`` where the source does not say.
        valid: (n,) bool, what ``use_valid_flag`` asks for: any point inside.
        lidar: (n,) bool, any lidar point inside.
        annotated: whether the source has boxes at all; a test set has none.
    """

    token: str
    shots: tuple[Shot, ...]
    rig_to_ego: Array
    ego_to_global: Array
    boxes: Array
    names: tuple[str, ...]
    attributes: NDArray[np.int64]
    points: NDArray[np.int64]
    valid: NDArray[np.bool_]
    lidar: NDArray[np.bool_]
    annotated: bool


@dataclass
class Annotations:
    """The boxes of a frame while they are read; see ``Frame``."""

    boxes: Array
    names: tuple[str, ...]
    attributes: NDArray[np.int64]
    points: NDArray[np.int64]
    valid: NDArray[np.bool_]
    lidar: NDArray[np.bool_]
    annotated: bool = True

    @classmethod
    def none(cls) -> Annotations:
        """Return those of a frame without annotation."""
        whole, flags = np.zeros(0, np.int64), np.zeros(0, np.bool_)
        return cls(np.zeros((0, 9)), (), whole, whole, flags, flags, annotated=False)

    def chosen(self, rows: NDArray[np.bool_]) -> Annotations:
        """Return some of the boxes."""
        names = tuple(name for name, row in zip(self.names, rows, strict=True) if row)
        return Annotations(
            self.boxes[rows],
            names,
            self.attributes[rows],
            self.points[rows],
            self.valid[rows],
            self.lidar[rows],
            self.annotated,
        )


@dataclass
class FrameSource:
    """The frames of a source, and what was found in it that is left out.

    Attributes:
        name: the file or folder, for messages.
        frames: those that can be used.
        left_out: names of what is not taken, by reason.
    """

    name: str
    frames: list[Frame] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, token: str, shots: Sequence[Shot], poses: tuple[Array, Array], found: Annotations) -> None:
        """Add a frame; boxes that are none are left out."""
        boxes = found.boxes
        whole = np.logical_and(np.isfinite(boxes[:, :7]).all(axis=1), (boxes[:, 3:6] > 0).all(axis=1))
        for name in (name for name, row in zip(found.names, whole, strict=True) if not row):
            self.left_out["boxes with a side that is not above 0, or a number that is not finite"].append(
                f"{name} in {token}"
            )
        found = found.chosen(whole)
        unknown = ~np.isfinite(found.boxes[:, 7:]).all(axis=1)
        found.boxes[unknown, 7:] = np.nan
        self.frames.append(
            Frame(
                token,
                tuple(shots),
                *poses,
                found.boxes,
                found.names,
                found.attributes,
                found.points,
                found.valid,
                found.lidar,
                found.annotated,
            )
        )


def in_our_order(source: FrameSource, order: BoxOrder) -> None:
    """Bring the boxes of all frames into the order of the house, from (..., w, l, h, old yaw) where they have that.

    Args:
        source: its boxes are changed in place.
        order: of the source; ``"auto"``: it is told by the classes whose length is above their width.

    Raises:
        DataError: it cannot be told.
    """
    if order == "auto":
        order = _told_order(source)
    if order == "wlh":
        for frame in source.frames:
            boxes = frame.boxes
            boxes[:, [3, 4]] = boxes[:, [4, 3]]
            boxes[:, 6] = -boxes[:, 6] - np.pi / 2
    for frame in source.frames:
        frame.boxes[:, 6] = (frame.boxes[:, 6] + np.pi) % (2 * np.pi) - np.pi


def _told_order(source: FrameSource) -> BoxOrder:
    sides = [frame.boxes[[row for row, name in enumerate(frame.names) if name in LONG], 3:5] for frame in source.frames]
    pairs = np.concatenate(sides) if sides else np.zeros((0, 2))
    if not len(pairs):
        if not any(frame.names for frame in source.frames):
            return "lwh"
        raise DataError(
            f"{source.name}: no box of it is of {', '.join(sorted(LONG))}, by which the order of length and width is "
            "told; set data.box_order=lwh (MMDetection3D 1.x) or wlh (0.x)"
        )
    share = float((pairs[:, 0] > pairs[:, 1]).mean())
    if 1 - SURE < share < SURE:
        raise DataError(
            f"{source.name}: {share:.0%} of {len(pairs)} vehicles are longer in their first side than in the second, "
            "so the order of length and width cannot be told; set data.box_order=lwh (MMDetection3D 1.x) or wlh (0.x)"
        )
    return "lwh" if share >= SURE else "wlh"


def numbers(value: Any, shapes: Sequence[tuple[int, ...]], what: str) -> Array:
    """Return an array of finite numbers of one of some shapes.

    Raises:
        FrameError: it is none.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise FrameError(f"{what} is no array of numbers") from None
    if array.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise FrameError(f"{what} has the shape {array.shape}, and not {wanted}")
    if not np.isfinite(array).all():
        raise FrameError(f"{what} holds a number that is not finite")
    return array


def intrinsics(value: Any, what: str) -> Array:
    """Return K as (4, 4), from (3, 3), (3, 4) or (4, 4).

    Raises:
        FrameError: it is none, or does not invert.
    """
    matrix = numbers(value, ((3, 3), (3, 4), (4, 4)), what)
    whole = np.eye(4)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return _inverts(whole, what)


def pose(value: Any, what: str) -> Array:
    """Return a rigid (4, 4) matrix.

    Raises:
        FrameError: it is none.
    """
    matrix = numbers(value, ((4, 4),), what)
    _rotates(matrix[:3, :3], what)
    return _inverts(matrix, what)


def pose_of(rotation: Any, translation: Any, what: str) -> Array:
    """Return a rigid (4, 4) matrix from a quaternion (w, x, y, z) or a rotation (3, 3), and a translation.

    Raises:
        FrameError: they are none.
    """
    array = numbers(rotation, ((4,), (3, 3)), f"the rotation of {what}")
    if array.shape == (4,):
        length = math.hypot(*array.tolist())
        if not 0.5 < length < 2:
            raise FrameError(f"the rotation of {what} is no quaternion of length 1")
        array = _rotation(*(array / length).tolist())
    else:
        _rotates(array, what)
    matrix = np.eye(4)
    matrix[:3, :3] = array
    matrix[:3, 3] = numbers(translation, ((3,),), f"the translation of {what}")
    return matrix


def rotations(quaternions: Array) -> Array:
    """Return the rotation matrices (n, 3, 3) of quaternions (n, 4) of length 1, (w, x, y, z)."""
    w, x, y, z = quaternions.T
    return np.moveaxis(_rotation(w, x, y, z), -1, 0)


def _rotation(w: Any, x: Any, y: Any, z: Any) -> Array:
    """Return (3, 3, ...) of numbers or of arrays of one shape."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _rotates(matrix: Array, what: str) -> Array:
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > _NEAR_ONE or np.linalg.det(matrix) < 0:
        raise FrameError(f"the rotation of {what} is none (its determinant is {np.linalg.det(matrix):.3g})")
    return matrix


def _inverts(matrix: Array, what: str) -> Array:
    if not np.linalg.cond(matrix) < 1e10:
        raise FrameError(f"{what} does not invert")
    return matrix


def attribute_numbers(count: int) -> NDArray[np.int64]:
    """Return (count,) attributes that are not known."""
    return np.full(count, NO_ATTRIBUTE, np.int64)
