"""The registered ResNets for small images (table 6 of the paper). No official weights are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.layers.convolution import NormName
from lab.models.resnet.cifar import CifarResNet, CifarResNetFeatures
from lab.ranges import Count, Flat, Size
from lab.registry.models import register_model


@dataclass(frozen=True)
class CifarResNetOptions(Flat):
    """What all of these names take.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
        width: channels of the first stage.
        norm: see ``CifarResNet``.
        in_chans: channels of the images.
    """

    num_classes: Count = 10
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3)
    width: Size = 16
    norm: NormName = "batch_norm"
    in_chans: Size = 3


OPTIONS = CifarResNetOptions()


def _resnet(depth: int, options: CifarResNetOptions) -> CifarResNet | CifarResNetFeatures:
    rest = (options.width, options.norm, options.in_chans)
    if options.features_only:
        return CifarResNetFeatures(depth, options.out_indices, *rest)
    return CifarResNet(depth, options.num_classes, *rest)


@register_model(classifier="fc")
def resnet20(options: CifarResNetOptions = OPTIONS) -> CifarResNet | CifarResNetFeatures:
    """Build ResNet-20 for images of about 32 pixels: 0.27 M parameters, 0.041 GMAC."""
    return _resnet(20, options)


@register_model(classifier="fc")
def resnet32(options: CifarResNetOptions = OPTIONS) -> CifarResNet | CifarResNetFeatures:
    """Build ResNet-32 for images of about 32 pixels: 0.46 M parameters, 0.069 GMAC."""
    return _resnet(32, options)


@register_model(classifier="fc")
def resnet44(options: CifarResNetOptions = OPTIONS) -> CifarResNet | CifarResNetFeatures:
    """Build ResNet-44 for images of about 32 pixels: 0.66 M parameters, 0.097 GMAC."""
    return _resnet(44, options)


@register_model(classifier="fc")
def resnet56(options: CifarResNetOptions = OPTIONS) -> CifarResNet | CifarResNetFeatures:
    """Build ResNet-56 for images of about 32 pixels: 0.85 M parameters, 0.125 GMAC."""
    return _resnet(56, options)


@register_model(classifier="fc")
def resnet110(options: CifarResNetOptions = OPTIONS) -> CifarResNet | CifarResNetFeatures:
    """Build ResNet-110 for images of about 32 pixels: 1.7 M parameters, 0.253 GMAC."""
    return _resnet(110, options)
