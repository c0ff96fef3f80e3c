"""The registered ResNets and the addresses of torchvision's ImageNet weights (tv: of 2016, tv2: of the 2021 recipe)."""

from __future__ import annotations

from collections.abc import Sequence

from lab.layers.convolution import NormName
from lab.models.resnet.network import ResNet, ResNetFeatures
from lab.registry.models import register_model

Dilation = Sequence[bool]


def _resnet(
    depth: int,
    num_classes: int,
    features_only: bool,
    out_indices: Sequence[int],
    norm: NormName,
    dilation: Dilation,
    zero_init_residual: bool,
) -> ResNet | ResNetFeatures:
    if features_only:
        return ResNetFeatures(depth, out_indices, norm, dilation, zero_init_residual)
    return ResNet(depth, num_classes, norm, dilation, zero_init_residual)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    },
    classifier="fc",
)
def resnet18(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    norm: NormName = "batch_norm",
    replace_stride_with_dilation: Dilation = (False, False, False),
    zero_init_residual: bool = False,
) -> ResNet | ResNetFeatures:
    """Build ResNet-18: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(18, num_classes, features_only, out_indices, norm, replace_stride_with_dilation, zero_init_residual)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    },
    classifier="fc",
)
def resnet34(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    norm: NormName = "batch_norm",
    replace_stride_with_dilation: Dilation = (False, False, False),
    zero_init_residual: bool = False,
) -> ResNet | ResNetFeatures:
    """Build ResNet-34: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(34, num_classes, features_only, out_indices, norm, replace_stride_with_dilation, zero_init_residual)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "tv2_in1k": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    },
    classifier="fc",
)
def resnet50(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    norm: NormName = "batch_norm",
    replace_stride_with_dilation: Dilation = (False, False, False),
    zero_init_residual: bool = False,
) -> ResNet | ResNetFeatures:
    """Build ResNet-50: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(50, num_classes, features_only, out_indices, norm, replace_stride_with_dilation, zero_init_residual)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
        "tv2_in1k": "https://download.pytorch.org/models/resnet101-cd907fc2.pth",
    },
    classifier="fc",
)
def resnet101(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    norm: NormName = "batch_norm",
    replace_stride_with_dilation: Dilation = (False, False, False),
    zero_init_residual: bool = False,
) -> ResNet | ResNetFeatures:
    """Build ResNet-101: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(101, num_classes, features_only, out_indices, norm, replace_stride_with_dilation, zero_init_residual)


@register_model(
    pretrained={
        "tv_in1k": "https://download.pytorch.org/models/resnet152-394f9c45.pth",
        "tv2_in1k": "https://download.pytorch.org/models/resnet152-f82ba261.pth",
    },
    classifier="fc",
)
def resnet152(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    norm: NormName = "batch_norm",
    replace_stride_with_dilation: Dilation = (False, False, False),
    zero_init_residual: bool = False,
) -> ResNet | ResNetFeatures:
    """Build ResNet-152: a classifier, or with ``features_only`` a backbone of the maps in ``out_indices``."""
    return _resnet(152, num_classes, features_only, out_indices, norm, replace_stride_with_dilation, zero_init_residual)
