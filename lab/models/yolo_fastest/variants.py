"""The registered YOLO-FastestV2. Every argument of ``YoloFastestV2`` can be overridden."""

from __future__ import annotations

from typing import Any

from lab.models.yolo_fastest.network import YoloFastestV2
from lab.registry.arguments import build_variant
from lab.registry.models import register_model


@register_model(classifier="output_cls_layers", converter="lab.models.yolo_fastest.weights.convert")
def yolo_fastest_v2(**overrides: Any) -> YoloFastestV2:
    """YOLO-FastestV2: 0.24 M parameters; 24.1 AP50 on COCO by its author's own metric, according to his README."""
    return build_variant(YoloFastestV2, "yolo_fastest_v2", overrides)
