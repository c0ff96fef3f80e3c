"""The registered AlexNet and the place of torchvision's ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence

from lab.models.alexnet.network import AlexNet, AlexNetFeatures
from lab.ranges import Count, Dropout, Size
from lab.registry.models import register_model


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "top_1": 56.522,
            "top_5": 79.066,
        },
    },
    classifier="classifier.6",
)
def alexnet(
    num_classes: Count = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    in_chans: Size = 3,
    dropout: Dropout = 0.5,
) -> AlexNet | AlexNetFeatures:
    """Build AlexNet: 61.1 M parameters, 56.5 % on ImageNet (top-1, torchvision's figure)."""
    if features_only:
        return AlexNetFeatures(out_indices, in_chans)
    return AlexNet(num_classes, in_chans, dropout)
