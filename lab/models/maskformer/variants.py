"""MaskFormer's variants by name: ``lab.create_model("maskformer_resnet50")``. Every argument can be overridden."""

from __future__ import annotations

from typing import Any

from lab.models.maskformer.network import MaskFormer
from lab.registry.arguments import build_variant
from lab.registry.models import register_model


def _resnet(name: str, backbone: str, overrides: dict[str, Any]) -> MaskFormer:
    return build_variant(MaskFormer, name, overrides, backbone=backbone, backbone_options={"norm": "frozen_batch_norm"})


def _swin(name: str, backbone: str, overrides: dict[str, Any]) -> MaskFormer:
    return build_variant(MaskFormer, name, overrides, backbone=backbone, backbone_options={"drop_path_rate": 0.3})


@register_model(classifier="predictor.class_embed", converter="lab.models.maskformer.weights.convert")
def maskformer_resnet50(**overrides: Any) -> MaskFormer:
    """MaskFormer on ResNet-50: 44.5 mIoU on ADE20K, says the authors' model zoo."""
    return _resnet("maskformer_resnet50", "resnet50", overrides)


@register_model(classifier="predictor.class_embed", converter="lab.models.maskformer.weights.convert")
def maskformer_resnet101(**overrides: Any) -> MaskFormer:
    """MaskFormer on ResNet-101: 45.5 mIoU on ADE20K, says the authors' model zoo."""
    return _resnet("maskformer_resnet101", "resnet101", overrides)


@register_model(classifier="predictor.class_embed", converter="lab.models.maskformer.weights.convert")
def maskformer_swin_tiny(**overrides: Any) -> MaskFormer:
    """MaskFormer on Swin-T: 46.7 mIoU on ADE20K, says the authors' model zoo."""
    return _swin("maskformer_swin_tiny", "swin_tiny", overrides)


@register_model(classifier="predictor.class_embed", converter="lab.models.maskformer.weights.convert")
def maskformer_swin_small(**overrides: Any) -> MaskFormer:
    """MaskFormer on Swin-S: 49.8 mIoU on ADE20K, says the authors' model zoo."""
    return _swin("maskformer_swin_small", "swin_small", overrides)


@register_model(classifier="predictor.class_embed", converter="lab.models.maskformer.weights.convert")
def maskformer_swin_base(**overrides: Any) -> MaskFormer:
    """MaskFormer on Swin-B with windows of 12: 52.7 mIoU on ADE20K after ImageNet-22K, says the authors' model zoo."""
    return _swin("maskformer_swin_base", "swin_base_window12", overrides)


@register_model(classifier="predictor.class_embed", converter="lab.models.maskformer.weights.convert")
def maskformer_swin_large(**overrides: Any) -> MaskFormer:
    """MaskFormer on Swin-L with windows of 12: 54.1 mIoU on ADE20K after ImageNet-22K, says the authors' model zoo."""
    return _swin("maskformer_swin_large", "swin_large_window12", overrides)


@register_model(classifier="predictor.class_embed")
def maskformer_tiny(**overrides: Any) -> MaskFormer:
    """A MaskFormer that learns small scenes on a CPU in minutes: eight convolutions, three layers, no dropout."""
    return build_variant(
        MaskFormer,
        "maskformer_tiny",
        overrides,
        num_queries=24,
        embed_dim=64,
        mask_dim=64,
        num_heads=4,
        num_decoder_layers=3,
        feedforward_dim=256,
        dropout=0.0,
        num_groups=8,
        backbone="conv_stem",
        backbone_options={"widths": (48, 96, 160, 256)},
    )
