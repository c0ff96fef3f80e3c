"""The registered ResNets and the addresses of torchvision's ImageNet weights (tv: of 2016, tv2: of the 2021 recipe)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.layers.convolution import NormName
from lab.models.resnet.network import ResNet, ResNetFeatures
from lab.ranges import Count, Flat
from lab.registry.models import register_model


@dataclass(frozen=True)
class ResNetOptions(Flat):
    """What all of these names take.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
        norm: see ``ResNet``.
        replace_stride_with_dilation: see ``ResNet``.
        zero_init_residual: see ``ResNet``.
    """

    num_classes: Count = 1000
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3, 4)
    norm: NormName = "batch_norm"
    replace_stride_with_dilation: Sequence[bool] = (False, False, False)
    zero_init_residual: bool = False


OPTIONS = ResNetOptions()


def _resnet(depth: int, options: ResNetOptions) -> ResNet | ResNetFeatures:
    rest = (options.norm, options.replace_stride_with_dilation, options.zero_init_residual)
    if options.features_only:
        return ResNetFeatures(depth, options.out_indices, *rest)
    return ResNet(depth, options.num_classes, *rest)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
            "top_1": 69.758,
            "top_5": 89.078,
        },
    },
    classifier="fc",
)
def resnet18(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNet-18: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(18, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnet34-b627a593.pth",
            "top_1": 73.314,
            "top_5": 91.42,
        },
    },
    classifier="fc",
)
def resnet34(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNet-34: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(34, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
            "top_1": 76.13,
            "top_5": 92.862,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
            "crop_share": 0.965,
            "top_1": 80.858,
            "top_5": 95.434,
        },
    },
    classifier="fc",
)
def resnet50(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNet-50: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(50, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
            "top_1": 77.374,
            "top_5": 93.546,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/resnet101-cd907fc2.pth",
            "crop_share": 0.965,
            "top_1": 81.886,
            "top_5": 95.78,
        },
    },
    classifier="fc",
)
def resnet101(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNet-101: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(101, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnet152-394f9c45.pth",
            "top_1": 78.312,
            "top_5": 94.046,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/resnet152-f82ba261.pth",
            "crop_share": 0.965,
            "top_1": 82.284,
            "top_5": 96.002,
        },
    },
    classifier="fc",
)
def resnet152(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNet-152: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(152, options)
