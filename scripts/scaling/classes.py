"""Heads, losses and metrics by the number of classes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from benchmarks.pairs import loss_of
from scaling.points import Study, Values, seconds
from torch import Tensor

from lab import create_model
from lab.metrics.confusion import class_columns, confusion_table
from lab.structures import (
    DetectionPredictions,
    DetectionTargets,
    DetectionTruth,
    SegmentationTargets,
    SegmentationTruth,
)
from lab.tasks.detection.metrics import DetectionMAP
from lab.tasks.segmentation.metrics import SemanticMetrics

importlib.import_module("faster_coco_eval")  # its import is no part of what grows
SIZES, QUICK = (10, 100, 1_000, 10_000), (4, 40)
SIDE, IMAGES, BOXES, SCENES = 64, 2, 100, 50


def names(count: int) -> tuple[str, ...]:
    """Return names of classes."""
    return tuple(f"class {number}" for number in range(count))


def learn(net: Any, targets: Any) -> None:
    """Do forward and backward pass of a batch of noise."""
    images = torch.randn(IMAGES, 3, SIDE, SIDE)
    loss_of(net, net(images), targets).backward()


def segmentation_step(count: int, scratch: Path) -> Values:
    """Measure forward, loss and backward of per-pixel classification."""
    torch.manual_seed(0)
    net = create_model("per_pixel_tiny", num_classes=count).train()
    segments = torch.randint(4, (IMAGES, SIDE, SIDE)).short()
    labels = torch.randint(count, (4 * IMAGES,))
    sizes = torch.full((IMAGES, 2), float(SIDE))
    targets = SegmentationTargets(segments, labels, (4,) * IMAGES, (SIDE**2,) * IMAGES, sizes)
    return {"step, s": seconds(lambda: learn(net, targets))}


def detection_step(count: int, scratch: Path) -> Values:
    """Measure forward, matching, loss and backward of DETR."""
    torch.manual_seed(0)
    net = create_model("detr_tiny", num_classes=count).train()
    return {"step, s": seconds(lambda: learn(net, targets_of(count, 5)))}


def targets_of(count: int, each: int) -> DetectionTargets:
    """Return ``each`` boxes in every image of a batch."""
    corners = torch.rand(IMAGES * each, 2) * SIDE / 2
    boxes = torch.cat([corners, corners + 4 + torch.rand(len(corners), 2) * SIDE / 3], 1)
    sizes = torch.full((IMAGES, 2), float(SIDE))
    return DetectionTargets(boxes, torch.randint(count, (len(boxes),)), (each,) * IMAGES, sizes)


def mean_iou(count: int, scratch: Path) -> Values:
    """Measure mean IoU of 4 images of 128 x 128."""
    torch.manual_seed(0)
    side, images, each = 128, 4, 20
    metric = SemanticMetrics(names(count))
    truth = SegmentationTruth(
        torch.randint(each, (images * side**2,)).short(),
        torch.randint(count, (images * each,)),
        torch.zeros(images * each, dtype=torch.bool),
        (each,) * images,
        ((side, side),) * images,
    )
    found = [torch.randint(count, (side, side)).short() for _ in range(images)]
    valid = torch.ones(images, dtype=torch.bool)
    update = seconds(lambda: metric.update(found, truth, valid))
    return {"update, s": update, "compute, s": seconds(metric.compute, rounds=0)}


def box_ap(count: int, scratch: Path) -> Values:
    """Measure box AP of 50 images with 100 boxes each."""
    torch.manual_seed(0)
    metric = DetectionMAP(names(count))
    truth, found = scenes(count, 10), scenes(count, BOXES)
    rows = found.reshape(SCENES, BOXES, 4)
    predictions = DetectionPredictions(rows, torch.rand(SCENES, BOXES), torch.randint(count, (SCENES, BOXES)))
    labels = torch.randint(count, (len(truth),))
    sides = truth[:, 2:] - truth[:, :2]
    stored = DetectionTruth(truth, labels, torch.zeros(len(truth), dtype=torch.bool), sides.prod(1), (10,) * SCENES)
    metric.update(predictions, stored, torch.arange(SCENES), torch.ones(SCENES, dtype=torch.bool))
    return {"compute, s": seconds(metric.compute, rounds=0)}


def scenes(count: int, each: int) -> Tensor:
    """Return random boxes (SCENES * each, 4) in images of 480 pixels."""
    corners = torch.rand(SCENES * each, 2) * 300
    return torch.cat([corners, corners + 10 + torch.rand(len(corners), 2) * 150], 1)


def tables(count: int, scratch: Path) -> Values:
    """Measure the tables of a classifier's test with 10,000 samples."""
    torch.manual_seed(0)
    pairs = torch.randint(count, (2, 10_000))
    confusion = torch.zeros(count, count, dtype=torch.int64)
    confusion.view(-1).index_add_(0, pairs[0] * count + pairs[1], torch.ones(pairs.shape[1], dtype=torch.int64))

    def make() -> None:
        class_columns(confusion, "images")
        confusion_table(confusion, names(count), "images")

    return {"tables, s": seconds(make, rounds=1)}


STUDIES = [
    Study("per_pixel_tiny, 2 images of 64 px", "classes", SIZES, QUICK, segmentation_step),
    Study("detr_tiny, 2 images of 64 px", "classes", SIZES, QUICK, detection_step),
    Study("mean IoU, 4 images of 128 px", "classes", SIZES, QUICK, mean_iou),
    Study("box AP, 50 images, 100 boxes each", "classes", SIZES, QUICK, box_ap),
    Study("tables of 10,000 classified images", "classes", SIZES, QUICK, tables),
]
