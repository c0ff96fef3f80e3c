"""The registered wide ResNets: MixMatch's WRN-28-2, and a small one for a CPU. No weights are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from lab.layers.convolution import NormName
from lab.models.wide_resnet.network import Style, WideResNet, WideResNetFeatures
from lab.ranges import Count, Flat, Ge, Le, Probability, Size
from lab.registry.models import register_model


@dataclass(frozen=True)
class WideResNetOptions(Flat):
    """What all of these names take.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
        norm: see ``WideResNet``.
        style: see ``WideResNet``.
        in_chans: channels of the images.
        scales: number of blocks of a classifier.
        momentum: of batch norms' statistics: 0.001 as published, 0.1 for a training of less than some thousand steps.
    """

    num_classes: Count = 10
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3)
    norm: NormName = "batch_norm"
    style: Style = "mixmatch"
    in_chans: Size = 3
    scales: Annotated[int, Ge(1), Le(4)] = 3
    momentum: Probability = 0.001


OPTIONS = WideResNetOptions()


def _wide_resnet(depth: int, widen_factor: int, options: WideResNetOptions) -> WideResNet | WideResNetFeatures:
    rest = (options.norm, options.style, options.in_chans)
    if options.features_only:
        return WideResNetFeatures(depth, widen_factor, options.out_indices, *rest, options.momentum)
    return WideResNet(depth, widen_factor, options.num_classes, *rest, options.scales, options.momentum)


@register_model(classifier="fc")
def wide_resnet28_2(options: WideResNetOptions = OPTIONS) -> WideResNet | WideResNetFeatures:
    """Build WRN-28-2 for images of 32 pixels: 1.47 M parameters, 0.214 GMAC."""
    return _wide_resnet(28, 2, options)


@register_model(classifier="fc")
def wide_resnet_tiny(options: WideResNetOptions = OPTIONS) -> WideResNet | WideResNetFeatures:
    """Build WRN-10-1, for a CPU: 0.08 M parameters, 0.013 GMAC at 32 pixels."""
    return _wide_resnet(10, 1, options)
