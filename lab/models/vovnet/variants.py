"""The registered VoVNets; all are backbones without a classifier."""

from __future__ import annotations

from dataclasses import dataclass

from lab.errors import ConfigError
from lab.models.vovnet.network import VoVNet, VoVNetOptions
from lab.ranges import Flat
from lab.registry.models import register_model


@dataclass(frozen=True)
class VoVNetBackbone(VoVNetOptions, Flat):
    """What these names take.

    Attributes:
        features_only: always true; here so that every backbone is asked for in the same words.
    """

    features_only: bool = True


OPTIONS = VoVNetBackbone()


def _vovnet(variant: str, options: VoVNetBackbone) -> VoVNet:
    if not options.features_only:
        raise ConfigError(f"vovnet{variant} is a backbone without a classifier: features_only must be true")
    return VoVNet(variant, options)


@register_model(converter="lab.models.vovnet.weights.convert")
def vovnet19_slim_dw(options: VoVNetBackbone = OPTIONS) -> VoVNet:
    """Build the slim VoVNet-19 of depthwise separable convolutions, the smallest (V-19-slim-dw-eSE)."""
    return _vovnet("19_slim_dw", options)


@register_model(converter="lab.models.vovnet.weights.convert")
def vovnet19_dw(options: VoVNetBackbone = OPTIONS) -> VoVNet:
    """Build VoVNet-19 of depthwise separable convolutions (V-19-dw-eSE)."""
    return _vovnet("19_dw", options)


@register_model(converter="lab.models.vovnet.weights.convert")
def vovnet19_slim(options: VoVNetBackbone = OPTIONS) -> VoVNet:
    """Build VoVNet-19 with about half of the channels (V-19-slim-eSE)."""
    return _vovnet("19_slim", options)


@register_model(converter="lab.models.vovnet.weights.convert")
def vovnet19(options: VoVNetBackbone = OPTIONS) -> VoVNet:
    """Build VoVNet-19 (V-19-eSE)."""
    return _vovnet("19", options)


@register_model(converter="lab.models.vovnet.weights.convert")
def vovnet39(options: VoVNetBackbone = OPTIONS) -> VoVNet:
    """Build VoVNet-39 (V-39-eSE)."""
    return _vovnet("39", options)


@register_model(converter="lab.models.vovnet.weights.convert")
def vovnet57(options: VoVNetBackbone = OPTIONS) -> VoVNet:
    """Build VoVNet-57 (V-57-eSE)."""
    return _vovnet("57", options)


@register_model(converter="lab.models.vovnet.weights.convert")
def vovnet99(options: VoVNetBackbone = OPTIONS) -> VoVNet:
    """Build VoVNet-99 (V-99-eSE), the backbone of DD3D and of DETR3D's best result."""
    return _vovnet("99", options)
