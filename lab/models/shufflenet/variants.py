"""The registered ShuffleNetV2s: table 5 of the paper, torchvision's ImageNet weights, YOLO-FastestV2's backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.layers.convolution import NormName
from lab.models.shufflenet.network import Shuffle, ShuffleNetV2, ShuffleNetV2Features
from lab.ranges import Count, Flat, Size
from lab.registry.models import register_model


@dataclass(frozen=True)
class ShuffleNetOptions(Flat):
    """What all of these names take.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
        norm: see ``ShuffleNetV2``.
        in_chans: channels of the images.
    """

    num_classes: Count = 1000
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3, 4)
    norm: NormName = "batch_norm"
    in_chans: Size = 3


OPTIONS = ShuffleNetOptions()
YOLO_OPTIONS = ShuffleNetOptions(out_indices=(3, 4))


def _shufflenet(
    widths: Sequence[int], options: ShuffleNetOptions, shuffle: Shuffle = "after"
) -> ShuffleNetV2 | ShuffleNetV2Features:
    rest = (options.norm, shuffle, options.in_chans)
    if options.features_only:
        return ShuffleNetV2Features(widths, options.out_indices, *rest)
    return ShuffleNetV2(widths, options.num_classes, *rest)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth",
            "top_1": 60.552,
            "top_5": 81.746,
        },
    },
    classifier="fc",
)
def shufflenet_v2_x0_5(options: ShuffleNetOptions = OPTIONS) -> ShuffleNetV2 | ShuffleNetV2Features:
    """Build ShuffleNetV2 x0.5: 1.37 M parameters, 60.6 % on ImageNet (top-1, torchvision's figure)."""
    return _shufflenet((24, 48, 96, 192, 1024), options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/shufflenetv2_x1-5666bf0f80.pth",
            "top_1": 69.362,
            "top_5": 88.316,
        },
    },
    classifier="fc",
)
def shufflenet_v2_x1_0(options: ShuffleNetOptions = OPTIONS) -> ShuffleNetV2 | ShuffleNetV2Features:
    """Build ShuffleNetV2 x1.0: 2.28 M parameters, 69.4 % on ImageNet (top-1, torchvision's figure)."""
    return _shufflenet((24, 116, 232, 464, 1024), options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/shufflenetv2_x1_5-3c479a10.pth",
            "crop_share": 0.965,
            "top_1": 72.996,
            "top_5": 91.086,
        },
    },
    classifier="fc",
)
def shufflenet_v2_x1_5(options: ShuffleNetOptions = OPTIONS) -> ShuffleNetV2 | ShuffleNetV2Features:
    """Build ShuffleNetV2 x1.5: 3.50 M parameters, 73.0 % on ImageNet (top-1, torchvision's figure)."""
    return _shufflenet((24, 176, 352, 704, 1024), options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/shufflenetv2_x2_0-8be3c8ee.pth",
            "crop_share": 0.965,
            "top_1": 76.23,
            "top_5": 93.006,
        },
    },
    classifier="fc",
)
def shufflenet_v2_x2_0(options: ShuffleNetOptions = OPTIONS) -> ShuffleNetV2 | ShuffleNetV2Features:
    """Build ShuffleNetV2 x2.0: 7.39 M parameters, 76.2 % on ImageNet (top-1, torchvision's figure)."""
    return _shufflenet((24, 244, 488, 976, 2048), options)


@register_model(classifier="fc", converter="lab.models.shufflenet.weights.convert")
def shufflenet_v2_yolo_fastest(options: ShuffleNetOptions = YOLO_OPTIONS) -> ShuffleNetV2 | ShuffleNetV2Features:
    """Build the backbone of YOLO-FastestV2: the widths of x0.5, shuffled before a block; reads its authors' keys."""
    return _shufflenet((24, 48, 96, 192, 1024), options, "before")
