"""The registered Swin Transformers: section 3.3 of the paper, at 224 pixels (windows of 7) and 384 (windows of 12).

Each has a short name and timm's. Tags are timm's too: ``ms_in1k``, trained on ImageNet-1K, and ``ms_in22k_ft_in1k``,
trained on ImageNet-22K and fine-tuned. The authors' files have no published hash, so they are not downloaded: give
``pretrained=FILE``. Accuracies are those that timm publishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.models.swin.network import SwinFeatures, SwinTransformer
from lab.ranges import Count, Flat, Probability, Size
from lab.registry.models import register_model


@dataclass(frozen=True)
class SwinOptions(Flat):
    """What all of these names take.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
        in_chans: channels of the images.
    """

    num_classes: Count = 1000
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3, 4)
    in_chans: Size = 3


OPTIONS = SwinOptions()
TINY, SMALL = (96, (2, 2, 6, 2), (3, 6, 12, 24)), (96, (2, 2, 18, 2), (3, 6, 12, 24))
BASE, LARGE = (128, (2, 2, 18, 2), (4, 8, 16, 32)), (192, (2, 2, 18, 2), (6, 12, 24, 48))
Shape = tuple[int, tuple[int, ...], tuple[int, ...]]


def _swin(
    shape: Shape, window_size: int, drop_path_rate: float, options: SwinOptions
) -> SwinTransformer | SwinFeatures:
    """Build from (width, depths, heads)."""
    rest = (4.0, drop_path_rate, options.in_chans)
    if options.features_only:
        return SwinFeatures(*shape, window_size, options.out_indices, *rest)
    return SwinTransformer(*shape, window_size, options.num_classes, *rest)


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_tiny(
    window_size: Size = 7, drop_path_rate: Probability = 0.2, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-T: 28.3 M parameters, 81.3 % on ImageNet (top-1, the authors' figure)."""
    return _swin(TINY, window_size, drop_path_rate, options)


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_small(
    window_size: Size = 7, drop_path_rate: Probability = 0.3, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-S: 49.6 M parameters, 83.0 % on ImageNet (top-1, the authors' figure)."""
    return _swin(SMALL, window_size, drop_path_rate, options)


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_base(
    window_size: Size = 7, drop_path_rate: Probability = 0.5, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-B: 87.8 M parameters, 83.5 % on ImageNet (top-1, the authors' figure)."""
    return _swin(BASE, window_size, drop_path_rate, options)


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_base_window12(
    window_size: Size = 12, drop_path_rate: Probability = 0.5, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-B for 384 pixels: windows of 12, 84.5 % on ImageNet (top-1, the authors' figure)."""
    return _swin(BASE, window_size, drop_path_rate, options)


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_large(
    window_size: Size = 7, drop_path_rate: Probability = 0.2, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-L: 196.5 M parameters, 86.3 % after ImageNet-22K (top-1, the authors' figure)."""
    return _swin(LARGE, window_size, drop_path_rate, options)


@register_model(classifier="head", converter="lab.models.swin.weights.convert")
def swin_large_window12(
    window_size: Size = 12, drop_path_rate: Probability = 0.2, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-L for 384 pixels: windows of 12, 87.3 % after ImageNet-22K (top-1, the authors' figure)."""
    return _swin(LARGE, window_size, drop_path_rate, options)


@register_model(
    pretrained={
        "ms_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 81.388,
            "top_5": 95.54,
        },
        "ms_in22k_ft_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.8/"
                "swin_tiny_patch4_window7_224_22kto1k_finetune.pth"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 80.966,
            "top_5": 96.02,
        },
    },
    classifier="head",
    converter="lab.models.swin.weights.convert",
)
def swin_tiny_patch4_window7_224(
    window_size: Size = 7, drop_path_rate: Probability = 0.2, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-T: timm's name of ``swin_tiny``."""
    return _swin(TINY, window_size, drop_path_rate, options)


@register_model(
    pretrained={
        "ms_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_small_patch4_window7_224.pth"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 83.228,
            "top_5": 96.326,
        },
        "ms_in22k_ft_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.8/"
                "swin_small_patch4_window7_224_22kto1k_finetune.pth"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 83.33,
            "top_5": 96.996,
        },
    },
    classifier="head",
    converter="lab.models.swin.weights.convert",
)
def swin_small_patch4_window7_224(
    window_size: Size = 7, drop_path_rate: Probability = 0.3, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-S: timm's name of ``swin_small``."""
    return _swin(SMALL, window_size, drop_path_rate, options)


@register_model(
    pretrained={
        "ms_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window7_224.pth"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 83.604,
            "top_5": 96.45,
        },
        "ms_in22k_ft_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
                "swin_base_patch4_window7_224_22kto1k.pth"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 85.276,
            "top_5": 97.566,
        },
    },
    classifier="head",
    converter="lab.models.swin.weights.convert",
)
def swin_base_patch4_window7_224(
    window_size: Size = 7, drop_path_rate: Probability = 0.5, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-B: timm's name of ``swin_base``."""
    return _swin(BASE, window_size, drop_path_rate, options)


@register_model(
    pretrained={
        "ms_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window12_384.pth"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "top_1": 84.478,
            "top_5": 96.886,
        },
        "ms_in22k_ft_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
                "swin_base_patch4_window12_384_22kto1k.pth"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "top_1": 86.442,
            "top_5": 98.068,
        },
    },
    classifier="head",
    converter="lab.models.swin.weights.convert",
)
def swin_base_patch4_window12_384(
    window_size: Size = 12, drop_path_rate: Probability = 0.5, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-B for 384 pixels: timm's name of ``swin_base_window12``."""
    return _swin(BASE, window_size, drop_path_rate, options)


@register_model(
    pretrained={
        "ms_in22k_ft_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
                "swin_large_patch4_window7_224_22kto1k.pth"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 86.32,
            "top_5": 97.89,
        },
    },
    classifier="head",
    converter="lab.models.swin.weights.convert",
)
def swin_large_patch4_window7_224(
    window_size: Size = 7, drop_path_rate: Probability = 0.2, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-L: timm's name of ``swin_large``."""
    return _swin(LARGE, window_size, drop_path_rate, options)


@register_model(
    pretrained={
        "ms_in22k_ft_in1k": {
            "url": (
                "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
                "swin_large_patch4_window12_384_22kto1k.pth"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "top_1": 87.142,
            "top_5": 98.228,
        },
    },
    classifier="head",
    converter="lab.models.swin.weights.convert",
)
def swin_large_patch4_window12_384(
    window_size: Size = 12, drop_path_rate: Probability = 0.2, options: SwinOptions = OPTIONS
) -> SwinTransformer | SwinFeatures:
    """Build Swin-L for 384 pixels: timm's name of ``swin_large_window12``."""
    return _swin(LARGE, window_size, drop_path_rate, options)
