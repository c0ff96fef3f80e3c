"""The registered ResNets and the addresses of torchvision's ImageNet weights (tv: of 2016, tv2: of the 2021 recipe)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.models.resnet.network import ResNet, ResNetFeatures, TrunkOptions
from lab.ranges import Count, Flat
from lab.registry.models import register_model


@dataclass(frozen=True)
class ResNetOptions(TrunkOptions, Flat):
    """What all of these names take, beside the options of ``TrunkOptions``.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
    """

    num_classes: Count = 1000
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3, 4)


OPTIONS = ResNetOptions()
V1D = ResNetOptions(deep_stem=True, avg_down=True)


def _resnet(depth: int, options: ResNetOptions, groups: int = 1, width_per_group: int = 64) -> ResNet | ResNetFeatures:
    if options.features_only:
        return ResNetFeatures(depth, options.out_indices, options, groups, width_per_group)
    return ResNet(depth, options.num_classes, options, groups, width_per_group)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
            "top_1": 69.758,
            "top_5": 89.078,
        },
    },
    classifier="fc",
    converter="lab.models.resnet.weights.convert",
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
    converter="lab.models.resnet.weights.convert",
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
    converter="lab.models.resnet.weights.convert",
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
    converter="lab.models.resnet.weights.convert",
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
    converter="lab.models.resnet.weights.convert",
)
def resnet152(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNet-152: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(152, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnext50_32x4d-7cdf4587.pth",
            "top_1": 77.618,
            "top_5": 93.698,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/resnext50_32x4d-1a0047aa.pth",
            "crop_share": 0.965,
            "top_1": 81.198,
            "top_5": 95.34,
        },
    },
    classifier="fc",
    converter="lab.models.resnet.weights.convert",
)
def resnext50_32x4d(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNeXt-50 (32x4d): 25.03 M parameters, 77.6 % on ImageNet (top-1; 81.2 % by the recipe of 2021)."""
    return _resnet(50, options, 32, 4)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnext101_32x8d-8ba56ff5.pth",
            "top_1": 79.312,
            "top_5": 94.526,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/resnext101_32x8d-110c445d.pth",
            "crop_share": 0.965,
            "top_1": 82.834,
            "top_5": 96.228,
        },
    },
    classifier="fc",
    converter="lab.models.resnet.weights.convert",
)
def resnext101_32x8d(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNeXt-101 (32x8d): 88.79 M parameters, 79.3 % (82.8 %) on ImageNet."""
    return _resnet(101, options, 32, 8)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/resnext101_64x4d-173b62eb.pth",
            "crop_share": 0.965,
            "top_1": 83.246,
            "top_5": 96.454,
        },
    },
    classifier="fc",
    converter="lab.models.resnet.weights.convert",
)
def resnext101_64x4d(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build ResNeXt-101 (64x4d): 83.46 M parameters, 83.2 % on ImageNet, by the recipe of 2021."""
    return _resnet(101, options, 64, 4)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth",
            "top_1": 78.468,
            "top_5": 94.086,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/wide_resnet50_2-9ba9bcbe.pth",
            "crop_share": 0.965,
            "top_1": 81.602,
            "top_5": 95.758,
        },
    },
    classifier="fc",
    converter="lab.models.resnet.weights.convert",
)
def wide_resnet50_2(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build the wide ResNet-50-2: 68.88 M parameters, 78.5 % (81.6 %) on ImageNet."""
    return _resnet(50, options, 1, 128)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/wide_resnet101_2-32ee1156.pth",
            "top_1": 78.848,
            "top_5": 94.284,
        },
        "tv2_in1k": {
            "url": "https://download.pytorch.org/models/wide_resnet101_2-d733dc28.pth",
            "crop_share": 0.965,
            "top_1": 82.51,
            "top_5": 96.02,
        },
    },
    classifier="fc",
    converter="lab.models.resnet.weights.convert",
)
def wide_resnet101_2(options: ResNetOptions = OPTIONS) -> ResNet | ResNetFeatures:
    """Build the wide ResNet-101-2: 126.89 M parameters, 78.8 % (82.5 %) on ImageNet."""
    return _resnet(101, options, 1, 128)


@register_model(classifier="fc", converter="lab.models.resnet.weights.convert")
def resnetv1d50(options: ResNetOptions = V1D) -> ResNet | ResNetFeatures:
    """Build ResNet-D-50: 25.58 M parameters, 4.33 GMAC."""
    return _resnet(50, options)


@register_model(classifier="fc", converter="lab.models.resnet.weights.convert")
def resnetv1d101(options: ResNetOptions = V1D) -> ResNet | ResNetFeatures:
    """Build ResNet-D-101: 44.57 M parameters, 8.04 GMAC."""
    return _resnet(101, options)


@register_model(classifier="fc", converter="lab.models.resnet.weights.convert")
def resnetv1d152(options: ResNetOptions = V1D) -> ResNet | ResNetFeatures:
    """Build ResNet-D-152: 60.21 M parameters, 11.75 GMAC."""
    return _resnet(152, options)


@register_model(classifier="fc", converter="lab.models.resnet.weights.convert")
def resnet50d(options: ResNetOptions = V1D) -> ResNet | ResNetFeatures:
    """Build ResNet-D-50: timm's name of ``resnetv1d50``."""
    return _resnet(50, options)


@register_model(classifier="fc", converter="lab.models.resnet.weights.convert")
def resnet101d(options: ResNetOptions = V1D) -> ResNet | ResNetFeatures:
    """Build ResNet-D-101: timm's name of ``resnetv1d101``."""
    return _resnet(101, options)


@register_model(classifier="fc", converter="lab.models.resnet.weights.convert")
def resnet152d(options: ResNetOptions = V1D) -> ResNet | ResNetFeatures:
    """Build ResNet-D-152: timm's name of ``resnetv1d152``."""
    return _resnet(152, options)
