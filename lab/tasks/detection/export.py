"""How detectors are exported (``scripts/export.py``): boxes, scores and labels, before suppression."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import batched_nms

from lab.export.description import ResizeRule
from lab.export.engine import EngineNetwork, EngineOutputs
from lab.export.network import Inputs, KindOfExport
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.ops.boxes import in_originals, reach_into
from lab.structures import DetectionPredictions
from lab.structures.detection import Suppressing

SHORTER_SIDE = 224
"""Pixels of an example of images whose size nothing says."""


class EngineDetector(EngineNetwork):
    """An exported detector, which suppresses as the description says; what ``Detector`` needs to be measured."""

    def joined(self, found: list[EngineOutputs]) -> list[EngineOutputs]:
        """Return boxes, scores and labels of each image, and its size in the file's input."""
        return found

    def predict(self, outputs: list[EngineOutputs], original_sizes: Tensor) -> DetectionPredictions:
        """Return the boxes that remain, in pixels of images of ``original_sizes`` (B, 2)."""
        rows = [self._kept(*each) for each in outputs]
        boxes, scores, labels = (pad_sequence(list(part), batch_first=True) for part in zip(*rows, strict=True))
        sizes = torch.tensor([size for _, size in outputs], dtype=boxes.dtype)
        clip = "nms_iou" in self.description.thresholds
        return DetectionPredictions(in_originals(boxes, sizes, original_sizes.to("cpu"), clip), scores, labels)

    def _kept(self, parts: tuple[Tensor, ...], size: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores, labels = parts[:3]  # a file that suppresses by itself adds a count
        limits = self.description.thresholds
        if "nms_iou" not in limits:
            return boxes, scores, labels
        best = (scores > limits["min_score"]) & reach_into(boxes, torch.tensor(size))
        boxes, scores, labels = boxes[best], scores[best], labels[best]
        # In double: batched_nms moves classes apart by adding to coordinates, which would cost floats their digits.
        kept = batched_nms(boxes.double(), scores.double(), labels, limits["nms_iou"])[: int(limits["max_boxes"])]
        return boxes[kept], scores[kept], labels[kept]


class DetectorExport(KindOfExport):
    """A detector gives N boxes for each image: all of them where its ``predict`` suppresses (``Suppressing``)."""

    outputs: ClassVar = {
        "boxes": "(batch, boxes, 4) xyxy in pixels of the input",
        "scores": "(batch, boxes) from 0 to 1",
        "labels": "(batch, boxes) int64, places in class_names",
    }
    engine = EngineDetector

    def tensors(self, net: nn.Module, given: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """Return boxes (B, N, 4) xyxy in pixels of the images, scores (B, N) and labels (B, N)."""
        outputs = net(given)
        if isinstance(net, Suppressing):
            found = net.candidates(outputs)
        else:
            batch, _, height, width = images.shape
            sides = [torch.full((batch,), side, dtype=torch.float32, device=images.device) for side in (height, width)]
            found = net.predict(outputs, torch.stack(sides, dim=1))  # type: ignore[operator]
        return found.boxes, found.scores, found.labels

    def inputs(self, net: nn.Module, task: Any = None) -> Inputs:
        """Return the network's own statistics or ImageNet's, and how evaluation resizes images."""
        statistics = getattr(net, "image_statistics", (IMAGENET_MEAN, IMAGENET_STD))
        thresholds = net.thresholds if isinstance(net, Suppressing) else {}
        shape: tuple[int, ...] = () if task is None else task.spec.input_shape
        limits: tuple[int, ...] = () if task is None else task.spec.resize
        if len(shape) == 3 and shape[1] and shape[2]:
            grey = task.spec.grey
            rule = ResizeRule() if grey is None else ResizeRule("letterbox", grey=grey)
            return Inputs(statistics, rule, (shape[1], shape[2]), thresholds)
        short, longest = limits[:2] or (0, 0)
        rule = ResizeRule("shorter side", short, longest) if short else ResizeRule()
        short = short or SHORTER_SIDE
        long = min(short * 4 // 3, longest or short * 2)
        return Inputs(statistics, rule, (short, long) if limits else (short, short), thresholds)
