"""DETR by the number of its queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from benchmarks.pairs import loss_of
from scaling.classes import IMAGES, SIDE, targets_of
from scaling.points import Study, Values, seconds

from lab import create_model

CLASSES, OBJECTS = 91, 10


def measure(count: int, scratch: Path) -> Values:
    """Measure training step and inference of a transformer of DETR's size on a small backbone."""
    torch.manual_seed(0)
    net: Any = create_model("detr_resnet50", num_classes=CLASSES, num_queries=count, backbone="conv_stem")
    images, targets = torch.randn(IMAGES, 3, SIDE, SIDE), targets_of(CLASSES, OBJECTS)

    def infer() -> None:
        with torch.no_grad():
            net(images)

    found = {"step, s": seconds(lambda: loss_of(net.train(), net(images), targets).backward())}
    net.eval()
    return found | {"inference, s": seconds(infer)}


STUDIES = [Study("DETR, 2 images of 64 px, 10 objects", "queries", (10, 30, 100, 300, 1_000), (5, 10), measure)]
