"""The registered DenseNets and the places of torchvision's ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.layers.convolution import NormName
from lab.models.densenet.network import DenseNet, DenseNetFeatures
from lab.ranges import Count, Dropout, Flat, Size
from lab.registry.models import register_model

Sizes = tuple[int, tuple[int, int, int, int], int]


@dataclass(frozen=True)
class DenseNetOptions(Flat):
    """What all of these names take.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
        in_chans: channels of the images.
        norm: see ``DenseNet``.
        dropout: see ``DenseNet``.
        memory_efficient: see ``DenseNet``.
    """

    num_classes: Count = 1000
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3, 4)
    in_chans: Size = 3
    norm: NormName = "batch_norm"
    dropout: Dropout = 0.0
    memory_efficient: bool = False


OPTIONS = DenseNetOptions()


def _densenet(sizes: Sizes, options: DenseNetOptions) -> DenseNet | DenseNetFeatures:
    """Build from (growth rate, layers of each block, channels of the stem)."""
    growth_rate, layers, stem = sizes
    rest = (options.in_chans, options.norm, options.dropout, options.memory_efficient)
    if options.features_only:
        return DenseNetFeatures(growth_rate, layers, stem, options.out_indices, *rest)
    return DenseNet(growth_rate, layers, stem, options.num_classes, *rest)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/densenet121-a639ec97.pth",
            "top_1": 74.434,
            "top_5": 91.972,
        },
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet121(options: DenseNetOptions = OPTIONS) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-121: 7.98 M parameters, 74.4 % on ImageNet (top-1, torchvision's figure)."""
    return _densenet((32, (6, 12, 24, 16), 64), options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/densenet161-8d451a50.pth",
            "top_1": 77.138,
            "top_5": 93.56,
        },
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet161(options: DenseNetOptions = OPTIONS) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-161: 28.68 M parameters, 77.1 % on ImageNet (top-1, torchvision's figure)."""
    return _densenet((48, (6, 12, 36, 24), 96), options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/densenet169-b2777c0a.pth",
            "top_1": 75.6,
            "top_5": 92.806,
        },
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet169(options: DenseNetOptions = OPTIONS) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-169: 14.15 M parameters, 75.6 % on ImageNet (top-1, torchvision's figure)."""
    return _densenet((32, (6, 12, 32, 32), 64), options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/densenet201-c1103571.pth",
            "top_1": 76.896,
            "top_5": 93.37,
        },
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet201(options: DenseNetOptions = OPTIONS) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-201: 20.01 M parameters, 76.9 % on ImageNet (top-1, torchvision's figure)."""
    return _densenet((32, (6, 12, 48, 32), 64), options)
