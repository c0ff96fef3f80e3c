"""The per-pixel baseline by name: ``lab.create_model("per_pixel_resnet50")``. Every argument can be overridden."""

from __future__ import annotations

from typing import Any

from lab.models.per_pixel.network import PerPixel
from lab.registry.arguments import build_variant
from lab.registry.models import register_model


@register_model(classifier="predictor")
def per_pixel_resnet50(**overrides: Any) -> PerPixel:
    """The baseline of MaskFormer's paper on ResNet-50: 39.2 mIoU on ADE20K, according to its table 3."""
    return build_variant(PerPixel, "per_pixel_resnet50", overrides, backbone_options={"norm": "frozen_batch_norm"})


@register_model(classifier="predictor")
def per_pixel_tiny(**overrides: Any) -> PerPixel:
    """The baseline of ``maskformer_tiny``, with the same backbone and pyramid."""
    return build_variant(
        PerPixel,
        "per_pixel_tiny",
        overrides,
        embed_dim=64,
        mask_dim=64,
        num_groups=8,
        backbone="conv_stem",
        backbone_options={"widths": (48, 96, 160, 256)},
    )
