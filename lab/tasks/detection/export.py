"""How detectors are exported (``scripts/export.py``): boxes, scores and labels, before suppression."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lab.export.description import ResizeRule
from lab.export.network import Inputs, KindOfExport
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.structures.detection import Suppressing

SHORTER_SIDE = 224
"""Pixels of an example of images whose size nothing says."""


class DetectorExport(KindOfExport):
    """A detector gives N boxes for each image: all of them where its ``predict`` suppresses (``Suppressing``)."""

    outputs: ClassVar = {
        "boxes": "(batch, boxes, 4) xyxy in pixels of the input",
        "scores": "(batch, boxes) from 0 to 1",
        "labels": "(batch, boxes) int64, places in class_names",
    }

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
            return Inputs(statistics, ResizeRule(), (shape[1], shape[2]), thresholds)
        short, longest = limits[:2] or (0, 0)
        rule = ResizeRule("shorter side", short, longest) if short else ResizeRule()
        short = short or SHORTER_SIDE
        long = min(short * 4 // 3, longest or short * 2)
        return Inputs(statistics, rule, (short, long) if limits else (short, short), thresholds)
