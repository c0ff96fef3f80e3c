"""A tiny detector in 3-D, frames of two cameras, and settings of the task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lab.data.nuscenes_names import ATTRIBUTES
from lab.registry import allow_package
from lab.structures import Term
from lab.structures.detection3d import (
    Detection3dPredictions,
    Detection3dSpec,
    Detection3dTargets,
    Detection3dTruth,
    MultiviewBatch,
    MultiviewSample,
    PixelScale,
)
from lab.tasks.detection3d.data.collate import collate_multiview, draw_chances
from lab.tasks.detection3d.data.module import MultiviewModule
from lab.tasks.detection3d.task import Detection3dTask

allow_package("tests")

CLASSES = ("car", "pedestrian", "barrier")
EVAL: dict[str, Any] = {"name": "detection3d", "monitor": "map", "class_ranges": None, "bands": [0, 20, 50]}
EVAL |= {"pictures": 2}
OPTIMIZER: dict[str, Any] = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "no_decay_norm_bias": True, "groups": []}
OPTIMIZER |= {"momentum": 0.0, "nesterov": False}
SCHEDULER: dict[str, Any] = {"name": "constant", "warmup_steps": 0}


class TinySpotter(nn.Module):
    """Finds as many boxes as it has queries, from the mean colour of the pictures of a frame.

    Args:
        num_classes: K.
        num_cameras: N.
        point_range: not used.
        num_queries: Q.
    """

    def __init__(self, num_classes: int, num_cameras: int, point_range: list[float], num_queries: int = 4) -> None:
        super().__init__()
        self.num_classes, self.num_queries = num_classes, num_queries
        self.pixels = PixelScale((100.0, 110.0, 120.0), (50.0, 50.0, 50.0), bgr=True)
        self.head = nn.Linear(3 * num_cameras, num_queries * (9 + num_classes))
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters(), start=1):
                parameter.copy_((torch.arange(parameter.numel()) * (number + 1) % 7 - 3).view_as(parameter) / 5)

    def forward(self, images: Tensor, projections: Tensor) -> Tensor:
        """Return (B, Q, 9 + K)."""
        found: Tensor = self.head(images.mean((-2, -1)).flatten(1))
        return found.unflatten(1, (self.num_queries, -1))

    def totals(self, targets: Detection3dTargets) -> Mapping[str, float]:
        """Return the number of boxes."""
        return {"boxes": float(sum(targets.counts))}

    def loss(self, outputs: Tensor, targets: Detection3dTargets) -> Mapping[str, Term]:
        """Return the distance of the mean prediction of a frame from each of its boxes."""
        owner = torch.repeat_interleave(torch.tensor(targets.counts))
        away = outputs[..., :9].mean(1)[owner] - targets.boxes.nan_to_num()
        return {"loss_box": Term(away.abs().sum(), "boxes")}

    def predict(self, outputs: Tensor) -> Detection3dPredictions:
        """Return the boxes of all queries."""
        scores, labels = outputs[..., 9:].sigmoid().max(-1)
        boxes = torch.cat([outputs[..., :3], outputs[..., 3:6].exp(), outputs[..., 6:9]], -1)
        return Detection3dPredictions(boxes, scores, labels)


def make_spec(**other: Any) -> Detection3dSpec:
    """Return a description of frames of two cameras."""
    fields: dict[str, Any] = {"class_names": CLASSES, "attribute_names": ATTRIBUTES}
    fields |= {"camera_names": ("CAM_FRONT", "CAM_BACK"), "point_range": (-50.0, -50.0, -5.0, 50.0, 50.0, 3.0)}
    return Detection3dSpec(**(fields | {"input_shape": (3, 32, 64)} | other))


def make_task(
    spec: Detection3dSpec | None = None, learning: dict[str, Any] | None = None, **settings: Any
) -> Detection3dTask:
    """Return a task of the tiny network; ``settings`` are those of the evaluation."""
    net = {"_target_": "tests.unit.tasks.detection3d.makers.TinySpotter"}
    plain = (spec or make_spec()).to_plain()
    return Detection3dTask(net, plain, OPTIMIZER, SCHEDULER, 3, EVAL | settings, learning or {})


def looking(yaw: float, height: int = 32, width: int = 64) -> Tensor:
    """Return the projection (4, 4) of a camera in the origin of the rig that looks along a yaw, 90 degrees wide."""
    forward = torch.tensor([math.cos(yaw), math.sin(yaw), 0.0], dtype=torch.float64)
    right = torch.tensor([math.sin(yaw), -math.cos(yaw), 0.0], dtype=torch.float64)
    down = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[0, :3] = width / 2 * (right + forward)
    matrix[1, :3] = width / 2 * down + height / 2 * forward
    matrix[2, :3] = forward
    return matrix


def pose(x: float, y: float, yaw: float) -> Tensor:
    """Return a pose (4, 4) float64."""
    found = torch.eye(4, dtype=torch.float64)
    found[:2, :2] = torch.tensor([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    found[:2, 3] = torch.tensor([x, y])
    return found


def make_sample(number: int, train: bool = False, boxes: int = 2, size: tuple[int, int] = (30, 60)) -> MultiviewSample:
    """Return a frame: pictures of random colours, boxes in a row ahead."""
    generator = torch.Generator().manual_seed(number)
    found = torch.zeros(boxes, 9, dtype=torch.float64)
    found[:, 0] = torch.arange(boxes) * 6 + 8 + number
    found[:, 1] = number - 1
    found[:, 3:6] = torch.tensor([4.0, 2.0, 1.5])
    found[:, 6] = 0.3 * number
    found[:, 7] = torch.arange(boxes) % 2
    labels = torch.arange(boxes) % len(CLASSES)
    truth = Detection3dTruth(found, labels, torch.full((boxes,), 6), torch.full((boxes,), -1), (boxes,))
    return MultiviewSample(
        images=torch.randint(0, 256, (2, 3, *size), generator=generator, dtype=torch.uint8),
        projections=torch.stack([looking(0.0), looking(math.pi)]),
        boxes=found.float(),
        labels=labels,
        frame_id=number,
        token=f"frame-{number}",
        rig_to_ego=pose(0.9, 0.0, math.pi / 2),
        ego_to_global=pose(100.0 + number, 50.0, 0.2 * number),
        truth=None if train else truth,
        chances=draw_chances(generator, 2) if train else None,
    )


def make_batch(count: int, train: bool = False) -> MultiviewBatch:
    """Return a batch of frames."""
    return collate_multiview([make_sample(number, train, boxes=1 + number) for number in range(count)])


@dataclass
class FakeFrames:
    """So many frames as a ``KeyedDataset``."""

    count: int
    train: bool = False

    aspect_ratios = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> MultiviewSample:
        return make_sample(key[1], self.train, boxes=1 + key[1] % 3)

    def fingerprint(self) -> str:
        """Return nothing that changes."""
        return "fake"


@dataclass(eq=False)
class FakeFramesModule(MultiviewModule):
    """Frames of two cameras."""

    _: KW_ONLY
    num_train: int = 8
    num_val: int = 5

    @property
    def spec(self) -> Detection3dSpec:
        """That of ``make_spec``."""
        return make_spec()

    def build(self, split: str) -> FakeFrames:
        """Return the frames of a split."""
        return FakeFrames(self.num_train if split == "train" else self.num_val, split == "train")
