"""Detection in 3-D from several cameras: samples, targets, predictions and the protocol of detectors.

B frames in a batch, N cameras, H and W pixels (padded), Q predictions for each frame, K classes, T boxes of all frames,
packed one frame after the other.

A box is nine numbers (x, y, z, l, w, h, yaw, vx, vy): its centre (the middle of its height too), its length along its
heading, width and height in metres, its yaw in radians, counter-clockwise around z from the x axis, its velocity in
m/s, NaN where unknown. Boxes are in the frame of the rig (nuScenes' LIDAR_TOP): z up, right-handed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from lab.structures.common import BoxPredictions, ClassSpec, Movable, OutputsT, RankedBoxes, Term, split_packed

RACK = -1
"""The label of a bicycle rack in a truth: bicycles and motorcycles found or annotated inside one are not counted."""
NO_ATTRIBUTE = -1


@dataclass(frozen=True)
class Detection3dSpec(ClassSpec):
    """What data of several calibrated cameras tells.

    Attributes:
        input_shape: (3, H, W) of each camera's padded picture.
        camera_names: in the order of the pictures; networks may have weights for each.
        attribute_names: what an object does (``vehicle.moving``); may be empty.
        point_range: (x0, y0, z0, x1, y1, z1) metres: where the boxes to be found lie.
    """

    task: str = "detection3d"
    camera_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    point_range: tuple[float, ...] = ()

    def net_arguments(self) -> dict[str, Any]:
        """Return the number of classes, of cameras, and the range."""
        return {
            "num_classes": self.num_classes,
            "num_cameras": len(self.camera_names),
            "point_range": list(self.point_range),
        }


class PixelScale(NamedTuple):
    """How a network wants its pixels: ``(pixel - mean) / std`` of values 0..255; with ``bgr`` all three are BGR."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False


@dataclass
class Detection3dTruth(Movable):
    """The annotations as stored, of one frame or a batch; evaluation compares with them.

    Attributes:
        boxes: (T, 9) float64.
        labels: (T,) int64 in 0..K-1, or ``RACK``.
        attributes: (T,) int64 index into ``attribute_names``, or ``NO_ATTRIBUTE``.
        points: (T,) int64 lidar and radar points inside; 0: nuScenes does not count the box; -1: not known, counted.
        counts: the number of boxes of each frame.
    """

    boxes: Tensor
    labels: Tensor
    attributes: Tensor
    points: Tensor
    counts: tuple[int, ...]

    def rows(self, chosen: slice) -> Detection3dTruth:
        """Return the annotations of consecutive frames."""
        part = split_packed(self.counts, chosen)
        return Detection3dTruth(
            self.boxes[part], self.labels[part], self.attributes[part], self.points[part], self.counts[chosen]
        )


@dataclass
class MultiviewSample:
    """One frame, as a dataset returns it for the key ``(epoch, index)``.

    Attributes:
        images: (N, 3, h, w) uint8 RGB, not padded, not normalised.
        projections: (N, 4, 4) float64 rig to pixels of ``images``: (u z, v z, z, 1) = P @ (x, y, z, 1).
        boxes: (n, 9) float32 to learn from: of the range, of known classes.
        labels: (n,) int64.
        frame_id: the dataset's own number of the frame.
        token: the dataset's own name of the frame, what a submission calls it.
        rig_to_ego: (4, 4) float64.
        ego_to_global: (4, 4) float64.
        truth: None in training.
        chances: (R,) int64 random numbers 0 .. 2**31 - 1 by (seed, epoch, index) for what the device draws, or None.
    """

    images: Tensor
    projections: Tensor
    boxes: Tensor
    labels: Tensor
    frame_id: int
    token: str
    rig_to_ego: Tensor
    ego_to_global: Tensor
    truth: Detection3dTruth | None = None
    chances: Tensor | None = None


@dataclass
class Detection3dTargets(Movable):
    """What the loss compares outputs with, packed one frame after the other.

    Attributes:
        boxes: (T, 9) float32.
        labels: (T,) int64 in 0..K-1.
        counts: the number of boxes of each frame; host integers.
    """

    boxes: Tensor
    labels: Tensor
    counts: tuple[int, ...]

    def rows(self, chosen: slice) -> Detection3dTargets:
        """Return the targets of consecutive frames."""
        part = split_packed(self.counts, chosen)
        return Detection3dTargets(self.boxes[part], self.labels[part], self.counts[chosen])


@dataclass
class MultiviewBatch(Movable):
    """A batch of frames.

    Attributes:
        images: (B, N, 3, H, W) uint8 RGB, padded with zeros at the right and bottom. The task normalises on the device.
        projections: (B, N, 4, 4) float32 rig to pixels of ``images``.
        image_sizes: (B, 2) int64 (height, width) without the padding, the same for all cameras of a frame.
        targets: see there.
        frame_ids: (B,) int64.
        tokens: B names.
        rig_to_ego: (B, 4, 4) float64.
        ego_to_global: (B, 4, 4) float64.
        valid: (B,) bool, False for a frame that only fills up the batch.
        truth: None in training.
        chances: (B, R) int64, see ``MultiviewSample``; None outside of training.
        totals: the normalisers of the whole optimizer step; None outside of training.
    """

    exact: ClassVar[bool] = True  # the images are integers: what is a float here are places

    images: Tensor
    projections: Tensor
    image_sizes: Tensor
    targets: Detection3dTargets
    frame_ids: Tensor
    tokens: tuple[str, ...]
    rig_to_ego: Tensor
    ego_to_global: Tensor
    valid: Tensor
    truth: Detection3dTruth | None = None
    chances: Tensor | None = None
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.images)

    def rows(self, chosen: slice) -> Self:
        """Return consecutive frames. ``totals`` stay those of the whole step."""
        return replace(
            self,
            images=self.images[chosen],
            projections=self.projections[chosen],
            image_sizes=self.image_sizes[chosen],
            targets=self.targets.rows(chosen),
            frame_ids=self.frame_ids[chosen],
            tokens=self.tokens[chosen],
            rig_to_ego=self.rig_to_ego[chosen],
            ego_to_global=self.ego_to_global[chosen],
            valid=self.valid[chosen],
            truth=None if self.truth is None else self.truth.rows(chosen),
            chances=None if self.chances is None else self.chances[chosen],
        )


@dataclass
class Detections3d(RankedBoxes):
    """The detections of one frame: ``boxes`` are (n, 9) float32."""


@dataclass
class Detection3dPredictions(BoxPredictions[Detections3d]):
    """What a detector found: ``boxes`` are (B, Q, 9) float32, ``scores`` 0 for a candidate outside of its range."""

    ranked = Detections3d


@runtime_checkable
class Detector3d(Protocol[OutputsT]):
    """The protocol of architectures for detection in 3-D; an ``nn.Module`` with this fits the task.

    Attributes:
        pixels: how the task normalises the images.
    """

    pixels: PixelScale

    def forward(self, images: Tensor, projections: Tensor) -> OutputsT:
        """Map normalised images (B, N, 3, H, W) and projections (B, N, 4, 4) to the architecture's own outputs."""
        ...

    def totals(self, targets: Detection3dTargets) -> Mapping[str, float]:
        """Return this batch's share of every normaliser of the loss, by name, from host integers only."""
        ...

    def loss(self, outputs: OutputsT, targets: Detection3dTargets) -> Mapping[str, Term]:
        """Return named terms: weighted sums over this batch, each with the name of its normaliser in ``totals``."""
        ...

    def predict(self, outputs: OutputsT) -> Detection3dPredictions:
        """Turn outputs into boxes in the frame of the rig."""
        ...
