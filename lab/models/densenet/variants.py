"""The registered DenseNets and the places of torchvision's ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence

from lab.layers.convolution import NormName
from lab.models.densenet.network import DenseNet, DenseNetFeatures
from lab.ranges import Count, Dropout, Size
from lab.registry.models import register_model

Sizes = tuple[int, tuple[int, int, int, int], int]


def _densenet(
    sizes: Sizes,
    num_classes: int,
    features_only: bool,
    out_indices: Sequence[int],
    in_chans: int,
    norm: NormName,
    dropout: float,
    memory_efficient: bool,
) -> DenseNet | DenseNetFeatures:
    """Build from (growth rate, layers of each block, channels of the stem)."""
    if features_only:
        return DenseNetFeatures(*sizes, out_indices, in_chans, norm, dropout, memory_efficient)
    return DenseNet(*sizes, num_classes, in_chans, norm, dropout, memory_efficient)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/densenet121-a639ec97.pth",
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet121(
    num_classes: Count = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    in_chans: Size = 3,
    norm: NormName = "batch_norm",
    dropout: Dropout = 0.0,
    memory_efficient: bool = False,
) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-121: 7.98 M parameters, 74.4 % on ImageNet (top-1, torchvision's figure)."""
    rest = (in_chans, norm, dropout, memory_efficient)
    return _densenet((32, (6, 12, 24, 16), 64), num_classes, features_only, out_indices, *rest)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/densenet161-8d451a50.pth",
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet161(
    num_classes: Count = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    in_chans: Size = 3,
    norm: NormName = "batch_norm",
    dropout: Dropout = 0.0,
    memory_efficient: bool = False,
) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-161: 28.68 M parameters, 77.1 % on ImageNet (top-1, torchvision's figure)."""
    rest = (in_chans, norm, dropout, memory_efficient)
    return _densenet((48, (6, 12, 36, 24), 96), num_classes, features_only, out_indices, *rest)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/densenet169-b2777c0a.pth",
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet169(
    num_classes: Count = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    in_chans: Size = 3,
    norm: NormName = "batch_norm",
    dropout: Dropout = 0.0,
    memory_efficient: bool = False,
) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-169: 14.15 M parameters, 75.6 % on ImageNet (top-1, torchvision's figure)."""
    rest = (in_chans, norm, dropout, memory_efficient)
    return _densenet((32, (6, 12, 32, 32), 64), num_classes, features_only, out_indices, *rest)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/densenet201-c1103571.pth",
    },
    classifier="classifier",
    converter="lab.models.densenet.weights.convert",
)
def densenet201(
    num_classes: Count = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    in_chans: Size = 3,
    norm: NormName = "batch_norm",
    dropout: Dropout = 0.0,
    memory_efficient: bool = False,
) -> DenseNet | DenseNetFeatures:
    """Build DenseNet-201: 20.01 M parameters, 76.9 % on ImageNet (top-1, torchvision's figure)."""
    rest = (in_chans, norm, dropout, memory_efficient)
    return _densenet((32, (6, 12, 48, 32), 64), num_classes, features_only, out_indices, *rest)
