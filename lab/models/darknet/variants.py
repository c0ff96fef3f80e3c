"""The registered networks of darknet. Every argument of ``Darknet`` can be overridden."""

from __future__ import annotations

from typing import Any

from lab.models.darknet.network import Darknet
from lab.registry.arguments import build_variant
from lab.registry.models import register_model


@register_model(classifier=("layers.120.conv", "layers.129.conv"), converter="lab.models.darknet.weights.convert")
def yolo_fastest_v1_1(**overrides: Any) -> Darknet:
    """YOLO-Fastest 1.1: 0.35 M parameters; 24.4 AP50 on COCO, by darknet's metric, according to its author."""
    return build_variant(Darknet, "yolo_fastest_v1_1", overrides, cfg="yolo_fastest_v1_1")


@register_model(classifier=("layers.120.conv", "layers.129.conv"), converter="lab.models.darknet.weights.convert")
def yolo_fastest_v1_1_xl(**overrides: Any) -> Darknet:
    """YOLO-Fastest 1.1-xl: 0.92 M parameters; 34.3 AP50 on COCO, by darknet's metric, according to its author."""
    return build_variant(Darknet, "yolo_fastest_v1_1_xl", overrides, cfg="yolo_fastest_v1_1_xl")
