"""The registered wide ResNets: MixMatch's WRN-28-2, and a small one for a CPU. No weights are published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from lab.layers.convolution import NormName
from lab.models.wide_resnet.network import Style, WideResNet, WideResNetFeatures
from lab.ranges import Count, Ge, Le, Size
from lab.registry.models import register_model

NumScales = Annotated[int, Ge(1), Le(4)]


@register_model(classifier="fc")
def wide_resnet28_2(
    num_classes: Count = 10,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3),
    norm: NormName = "batch_norm",
    style: Style = "mixmatch",
    in_chans: Size = 3,
    scales: NumScales = 3,
) -> WideResNet | WideResNetFeatures:
    """Build WRN-28-2 for images of 32 pixels: 1.47 M parameters, 0.214 GMAC."""
    if features_only:
        return WideResNetFeatures(28, 2, out_indices, norm, style, in_chans)
    return WideResNet(28, 2, num_classes, norm, style, in_chans, scales)


@register_model(classifier="fc")
def wide_resnet_tiny(
    num_classes: Count = 10,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3),
    norm: NormName = "batch_norm",
    style: Style = "mixmatch",
    in_chans: Size = 3,
    scales: NumScales = 3,
) -> WideResNet | WideResNetFeatures:
    """Build WRN-10-1, for a CPU: 0.08 M parameters, 0.013 GMAC at 32 pixels."""
    if features_only:
        return WideResNetFeatures(10, 1, out_indices, norm, style, in_chans)
    return WideResNet(10, 1, num_classes, norm, style, in_chans, scales)
