"""The maps of YOLO-FastestV2 as files on phones have them, and how they are read.

The author's files for ncnn (github.com/dog-qiuqiu/Yolo-FastestV2, sample/ncnn/model) hold two maps in place of six:
probabilities, channels last. His program reads them by the names of blobs that are kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lab.structures.maps import MapLayout

PUBLISHED_INPUT, PUBLISHED_OUTPUTS = "input.1", ("794", "796")


def map_layouts(
    strides: Sequence[int], anchors: Sequence[float], classification: str, num_classes: int
) -> dict[str, MapLayout]:
    """Return the layouts ``maps`` and ``published``.

    Args:
        strides: pixels of a cell of each map.
        anchors: width and height in pixels, A for each stride.
        classification: ``softmax`` or ``sigmoid``.
        num_classes: K.
    """
    each = len(anchors) // (2 * len(strides))
    pairs = [list(anchors[2 * place : 2 * place + 2]) for place in range(len(anchors) // 2)]
    sizes = [pairs[each * scale : each * (scale + 1)] for scale in range(len(strides))]
    decoding: dict[str, Any] = {
        "decoding": "yolo_fastest_v2",
        "strides": list(strides),
        "anchors": sizes,
        "classification": classification,
    }
    raw: dict[str, str] = {}
    for stride in strides:
        raw[f"reg_{stride}"] = f"({4 * each}, h / {stride}, w / {stride}) logits of x, y, w, h, anchor by anchor"
        raw[f"obj_{stride}"] = f"({each}, h / {stride}, w / {stride}) logits of an object"
        raw[f"cls_{stride}"] = f"({num_classes}, h / {stride}, w / {stride}) logits of the classes, of all anchors"
    wide = 5 * each + num_classes
    names = zip(PUBLISHED_OUTPUTS, strides, strict=True)
    published = {
        name: f"(h / {stride}, w / {stride}, {wide}) probabilities of box, object and class" for name, stride in names
    }
    return {
        "maps": MapLayout("images", "BGR", raw, decoding),
        "published": MapLayout(PUBLISHED_INPUT, "BGR", published, decoding),
    }


def probability_maps(maps: Sequence[Tensor], classification: str) -> tuple[Tensor, ...]:
    """Return of each stride (B, h, w, A * 4 + A + K): sigmoids of boxes and objectness, chances of the classes.

    Args:
        maps: boxes (B, A * 4, h, w), objectness (B, A, h, w) and classes (B, K, h, w) of each stride.
        classification: ``softmax`` or ``sigmoid``.
    """
    found = []
    for first in range(0, len(maps), 3):
        reg, obj, cls = maps[first : first + 3]
        chances = cls.softmax(1) if classification == "softmax" else cls.sigmoid()
        found.append(torch.cat((reg.sigmoid(), obj.sigmoid(), chances), dim=1).permute(0, 2, 3, 1))
    return tuple(found)
