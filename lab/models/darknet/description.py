"""YOLO-Fastest 1.1 as a description in darknet's own form, for any number of classes and size of images.

From facts about the published networks: inverted residual blocks as MobileNetV2's, three poolings side by side, and two
heads of depthwise 5x5 convolutions. ``xl`` has twice the channels in the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.models.darknet.cfg import Section, parse_cfg, written

STEM = 8
BLOCKS = (
    (8, 4, 1, 1),
    (8, 4, 1, 1),
    (24, 8, 2, 1),
    (32, 8, 1, 2),
    (32, 8, 2, 1),
    (48, 8, 1, 2),
    (48, 16, 1, 1),
    (96, 16, 1, 4),
    (96, 24, 2, 1),
    (136, 24, 1, 4),
    (136, 48, 2, 1),
    (224, 48, 1, 5),
)
"""Channels inside, channels out, stride, times; of equal channels and stride 1 the sum with the input is taken."""
FINE = 9
"""The row, counted from 0, after which the finer head reads; the coarser one reads after the last."""
POOLS = (3, 5, 9)
HEAD = 96
ANCHORS = (12.0, 18, 37, 49, 52, 132, 115, 73, 119, 199, 242, 238)
"""Width and height in pixels: three of stride 16, then three of stride 32; for COCO at 320 pixels."""
TRAINING: dict[str, str | int | float] = {
    "batch": 32,
    "subdivisions": 1,
    "momentum": 0.949,
    "decay": 0.0005,
    "angle": 0,
    "saturation": 1.5,
    "exposure": 1.5,
    "hue": 0.1,
    "learning_rate": 0.001,
    "burn_in": 4000,
    "max_batches": 500000,
    "policy": "steps",
    "steps": "400000,450000",
    "scales": ".1,.1",
}
"""What darknet trains with; lab's own trainings do not read it."""
LOSS: dict[str, str | int | float] = {
    "jitter": 0.15,
    "ignore_thresh": 0.5,
    "truth_thresh": 1,
    "random": 0,
    "scale_x_y": 1.0,
    "iou_thresh": 0.213,
    "cls_normalizer": 1.0,
    "iou_normalizer": 0.07,
    "iou_loss": "ciou",
    "nms_kind": "greedynms",
    "beta_nms": 0.6,
}
WIDTHS = {"yolo_fastest_v1_1": (1, 0.15), "yolo_fastest_v1_1_xl": (2, 0.2)}
"""Factor of the backbone's channels, and dropout of its blocks."""
Values = Mapping[str, str | int | float]
Described = list[tuple[str, Values]]


def describe(
    name: str, num_classes: int, anchors: Sequence[float] = ANCHORS, size: tuple[int, int] = (320, 320)
) -> list[Section]:
    """Return the sections of a network of ``WIDTHS``.

    Args:
        name: of the network.
        num_classes: K.
        anchors: width and height of each, three for stride 16, then three for stride 32.
        size: (height, width) of the images for which darknet runs it.
    """
    factor, dropout = WIDTHS[name]
    net: Values = {"width": size[1], "height": size[0], "channels": 3, **TRAINING}
    layers, fine = _backbone(factor, dropout)
    layers += [*_pools(), _convolution(HEAD, 1)]
    coarse = len(layers) - 1
    layers += _head(HEAD, num_classes, anchors, "3,4,5")
    layers += [("route", {"layers": coarse - len(layers)}), ("upsample", {"stride": 2})]
    layers += [("route", {"layers": f"-1,{fine}"})]
    layers += _head(HEAD + BLOCKS[FINE][1] * factor, num_classes, anchors, "0,1,2")
    return parse_cfg(written([("net", net), *layers]), name)


def _backbone(factor: int, dropout: float) -> tuple[Described, int]:
    """Return the layers and the number of the one that the finer head reads."""
    layers, entering, fine = [_convolution(STEM * factor, 3, stride=2)], STEM * factor, 0
    for row, (inside, out, stride, times) in enumerate(BLOCKS):
        for _ in range(times):
            layers += [
                _convolution(inside * factor, 1),
                _convolution(inside * factor, 3, stride=stride, groups=inside * factor),
                _convolution(out * factor, 1, activation="linear"),
            ]
            if stride == 1 and entering == out * factor:
                layers += [("dropout", {"probability": dropout}), ("shortcut", {"from": -5, "activation": "linear"})]
            entering = out * factor
        fine = len(layers) - 1 if row == FINE else fine
    return layers, fine


def _pools() -> Described:
    """Return poolings of the same map and the four maps side by side, the largest window first."""
    layers: Described = []
    for index, size in enumerate(POOLS):
        layers += [("route", {"layers": -2 * index})] if index else []
        layers += [("maxpool", {"stride": 1, "size": size})]
    return [*layers, ("route", {"layers": "-1,-3,-5,-6"})]


def _head(channels: int, num_classes: int, anchors: Sequence[float], mask: str) -> Described:
    """Return a head of three anchors: each cell has 5 + K numbers for each of them."""
    towers = [
        _convolution(channels, 5, groups=channels),
        _convolution(channels, 1, activation="linear"),
    ]
    filters = 3 * (num_classes + 5)
    sizes = ",".join(f"{each:g}" for each in anchors)
    yolo: Values = {"mask": mask, "anchors": sizes, "classes": num_classes, "num": len(anchors) // 2, **LOSS}
    return [*towers, *towers, _convolution(filters, 1, activation="linear", norm=False), ("yolo", yolo)]


def _convolution(
    filters: int, size: int, *, stride: int = 1, groups: int = 1, activation: str = "leaky", norm: bool = True
) -> tuple[str, Values]:
    keys: dict[str, str | int | float] = {"filters": filters, "size": size, "stride": stride, "pad": 1}
    if norm:
        keys["batch_normalize"] = 1
    if groups > 1:
        keys["groups"] = groups
    return "convolutional", {**keys, "activation": activation}
