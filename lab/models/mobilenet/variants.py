"""The registered MobileNetV2 and the places of torchvision's ImageNet weights (tv: first, tv2: of the 2021 recipe)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from lab.layers.convolution import NormName
from lab.models.mobilenet.network import MobileNetV2, MobileNetV2Features
from lab.ranges import Count, Dropout, Gt, Le, Size
from lab.registry.models import register_model


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
            "top_1": 71.878,
            "top_5": 90.286,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth",
            "crop_share": 0.965,
            "top_1": 72.154,
            "top_5": 90.822,
        },
    },
    classifier="classifier.1",
)
def mobilenet_v2(
    num_classes: Count = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    norm: NormName = "batch_norm",
    in_chans: Size = 3,
    width_mult: Annotated[float, Gt(0), Le(10)] = 1.0,
    dropout: Dropout = 0.2,
) -> MobileNetV2 | MobileNetV2Features:
    """Build MobileNetV2: 3.50 M parameters, 71.9 % on ImageNet (top-1, torchvision's figure)."""
    if features_only:
        return MobileNetV2Features(out_indices, norm, in_chans, width_mult)
    return MobileNetV2(num_classes, norm, in_chans, width_mult, dropout)
