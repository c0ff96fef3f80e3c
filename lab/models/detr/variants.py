"""DETR's variants by name: ``lab.create_model("detr_resnet50")``. Every argument of ``DETR`` can be overridden."""

from __future__ import annotations

from typing import Any

from lab.models.detr.network import DETR
from lab.registry.arguments import build_variant
from lab.registry.models import register_model


@register_model(
    pretrained={
        "coco": {
            "url": "https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth",
            "published": {"COCO AP": 42.0},
        },
    },
    classifier="class_embed",
    converter="lab.models.detr.weights.convert",
)
def detr_resnet50(**overrides: Any) -> DETR:
    """DETR on ResNet-50: 42.0 AP on COCO after 500 epochs, according to the authors' README."""
    return build_variant(DETR, "detr_resnet50", overrides)


@register_model(
    pretrained={
        "coco": {
            "url": "https://dl.fbaipublicfiles.com/detr/detr-r50-dc5-f0fb7ef5.pth",
            "published": {"COCO AP": 43.3},
        },
    },
    classifier="class_embed",
    converter="lab.models.detr.weights.convert",
)
def detr_resnet50_dc5(**overrides: Any) -> DETR:
    """DETR on ResNet-50 with a dilated last stage: 43.3 AP, according to the authors' README."""
    return build_variant(DETR, "detr_resnet50_dc5", overrides, dilation=True)


@register_model(
    pretrained={
        "coco": {
            "url": "https://dl.fbaipublicfiles.com/detr/detr-r101-2c7b67e5.pth",
            "published": {"COCO AP": 43.5},
        },
    },
    classifier="class_embed",
    converter="lab.models.detr.weights.convert",
)
def detr_resnet101(**overrides: Any) -> DETR:
    """DETR on ResNet-101: 43.5 AP, according to the authors' README."""
    return build_variant(DETR, "detr_resnet101", overrides, backbone="resnet101")


@register_model(
    pretrained={
        "coco": {
            "url": "https://dl.fbaipublicfiles.com/detr/detr-r101-dc5-a2e86def.pth",
            "published": {"COCO AP": 44.9},
        },
    },
    classifier="class_embed",
    converter="lab.models.detr.weights.convert",
)
def detr_resnet101_dc5(**overrides: Any) -> DETR:
    """DETR on ResNet-101 with a dilated last stage: 44.9 AP, according to the authors' README."""
    return build_variant(DETR, "detr_resnet101_dc5", overrides, backbone="resnet101", dilation=True)


@register_model(classifier=("class_embed", "proposals.class_embed"))
def detr_tiny(**overrides: Any) -> DETR:
    """A DETR that learns small scenes on a CPU in minutes: a stem of stride 8, proposed anchors, no dropout."""
    return build_variant(
        DETR,
        "detr_tiny",
        overrides,
        num_queries=10,
        embed_dim=96,
        num_heads=4,
        num_encoder_layers=1,
        num_decoder_layers=2,
        feedforward_dim=256,
        dropout=0.0,
        backbone="conv_stem",
        queries="anchor",
        anchors="proposed",
        classification="sigmoid_focal",
        cost_class=2.0,
        class_loss_weight=2.0,
    )
