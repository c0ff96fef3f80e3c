"""The registered Swin Transformers: section 3.3 of the paper, at 224 pixels (windows of 7) and 384 (windows of 12).

The authors' files have no hash in their names and were not available, so there are no tags: use ``pretrained=FILE``.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.models.swin.network import SwinFeatures, SwinTransformer
from lab.registry.models import register_model


def _swin(
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    num_classes: int,
    features_only: bool,
    out_indices: Sequence[int],
    window_size: int,
    drop_path_rate: float,
) -> SwinTransformer | SwinFeatures:
    if features_only:
        return SwinFeatures(
            embed_dim, depths, num_heads, window_size, out_indices=out_indices, drop_path_rate=drop_path_rate
        )
    return SwinTransformer(
        embed_dim, depths, num_heads, window_size, num_classes=num_classes, drop_path_rate=drop_path_rate
    )


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_tiny(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    window_size: int = 7,
    drop_path_rate: float = 0.2,
) -> SwinTransformer | SwinFeatures:
    """Build Swin-T: 28.3 M parameters, 81.3 % on ImageNet (top-1, the authors' figure)."""
    return _swin(96, (2, 2, 6, 2), (3, 6, 12, 24), num_classes, features_only, out_indices, window_size, drop_path_rate)


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_small(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    window_size: int = 7,
    drop_path_rate: float = 0.3,
) -> SwinTransformer | SwinFeatures:
    """Build Swin-S: 49.6 M parameters, 83.0 % on ImageNet (top-1, the authors' figure)."""
    return _swin(
        96, (2, 2, 18, 2), (3, 6, 12, 24), num_classes, features_only, out_indices, window_size, drop_path_rate
    )


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_base(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    window_size: int = 7,
    drop_path_rate: float = 0.5,
) -> SwinTransformer | SwinFeatures:
    """Build Swin-B: 87.8 M parameters, 83.5 % on ImageNet (top-1, the authors' figure)."""
    return _swin(
        128, (2, 2, 18, 2), (4, 8, 16, 32), num_classes, features_only, out_indices, window_size, drop_path_rate
    )


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_base_window12(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    window_size: int = 12,
    drop_path_rate: float = 0.5,
) -> SwinTransformer | SwinFeatures:
    """Build Swin-B for 384 pixels: windows of 12, 84.5 % on ImageNet (top-1, the authors' figure)."""
    return _swin(
        128, (2, 2, 18, 2), (4, 8, 16, 32), num_classes, features_only, out_indices, window_size, drop_path_rate
    )


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_large(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    window_size: int = 7,
    drop_path_rate: float = 0.2,
) -> SwinTransformer | SwinFeatures:
    """Build Swin-L: 196.5 M parameters, 86.3 % after ImageNet-22K (top-1, the authors' figure)."""
    return _swin(
        192, (2, 2, 18, 2), (6, 12, 24, 48), num_classes, features_only, out_indices, window_size, drop_path_rate
    )


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_large_window12(
    num_classes: int = 1000,
    features_only: bool = False,
    out_indices: Sequence[int] = (1, 2, 3, 4),
    window_size: int = 12,
    drop_path_rate: float = 0.2,
) -> SwinTransformer | SwinFeatures:
    """Build Swin-L for 384 pixels: windows of 12, 87.3 % after ImageNet-22K (top-1, the authors' figure)."""
    return _swin(
        192, (2, 2, 18, 2), (6, 12, 24, 48), num_classes, features_only, out_indices, window_size, drop_path_rate
    )
