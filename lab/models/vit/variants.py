"""The registered Vision Transformers: the paper's sizes and DeiT's small and tiny ones, at 224 pixels.

``variants_384`` has those at 384 pixels.

Tags: ``tv_in1k`` are torchvision's weights, trained on ImageNet from scratch; ``deit_in1k`` those of "Training
data-efficient image transformers" (Touvron et al., ICML 2021), the same network; ``augreg_in21k_ft_in1k`` those of "How
to train your ViT?" (Steiner et al., TMLR 2022), ``orig_in21k_ft_in1k`` the paper's own in timm's copy. The authors'
``.npz`` files have no published hash, so they are not downloaded: give ``pretrained=FILE``, and the tag says what they
need. Accuracies are those that torchvision and timm publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from lab.errors import ConfigError
from lab.models.vit.network import VisionTransformer, ViTFeatures
from lab.ranges import Count, Dropout, Flat, MultipleOf, OneOf, Pixels, Probability, Size
from lab.registry.models import register_model


@dataclass(frozen=True)
class ViTOptions(Flat):
    """What all of these names take.

    Attributes:
        num_classes: K; 0 for no head.
        features_only: a backbone of the maps in ``out_indices``, no classifier.
        out_indices: which maps a backbone returns.
        in_chans: channels of the images.
        global_pool: what a classifier looks at: the class token, or the mean of the others.
        dropout: see ``VisionTransformer``.
        drop_path_rate: see ``VisionTransformer``.
        weight_init: see ``VisionTransformer``.
    """

    num_classes: Count = 1000
    features_only: bool = False
    out_indices: Sequence[int] = (1, 2, 3, 4)
    in_chans: Size = 3
    global_pool: Annotated[str, OneOf("token", "avg")] = "token"
    dropout: Dropout = 0.0
    drop_path_rate: Probability = 0.0
    weight_init: Annotated[str, OneOf("timm", "jax")] = "timm"


OPTIONS = ViTOptions()


def build_vit(shape: tuple[int, int, int, int], img_size: int, options: ViTOptions) -> VisionTransformer | ViTFeatures:
    """Build from (width, depth, heads, patch)."""
    pool, rest = options.global_pool, (4.0, options.dropout, options.drop_path_rate, options.weight_init)
    if not options.features_only:
        return VisionTransformer(*shape, img_size, options.num_classes, options.in_chans, pool, *rest)
    if pool != "token":
        raise ConfigError(f"global_pool={pool}: a backbone (features_only) pools nothing; leave it out")
    return ViTFeatures(*shape, img_size, options.out_indices, options.in_chans, *rest)


@register_model(
    pretrained={
        "deit_in1k": {
            "url": "https://dl.fbaipublicfiles.com/deit/deit_tiny_patch16_224-a1311bcf.pth",
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 72.19,
            "top_5": 91.1,
        },
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.03-res_224.npz"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 75.452,
            "top_5": 92.858,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_tiny_patch16_224(
    img_size: Annotated[Pixels, MultipleOf(16)] = 224,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-Ti/16: 5.7 M parameters."""
    return build_vit((192, 12, 3, 16), img_size, options)


@register_model(
    pretrained={
        "deit_in1k": {
            "url": "https://dl.fbaipublicfiles.com/deit/deit_small_patch16_224-cd65a155.pth",
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 79.856,
            "top_5": 95.056,
        },
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.03-res_224.npz"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 81.402,
            "top_5": 96.15,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_small_patch16_224(
    img_size: Annotated[Pixels, MultipleOf(16)] = 224,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-S/16: 22.1 M parameters."""
    return build_vit((384, 12, 6, 16), img_size, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/vit_b_16-c867db91.pth",
            "top_1": 81.072,
            "top_5": 95.318,
        },
        "deit_in1k": {
            "url": "https://dl.fbaipublicfiles.com/deit/deit_base_patch16_224-b5f2ef4d.pth",
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "top_1": 81.98,
            "top_5": 95.74,
        },
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.01-res_224.npz"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 84.534,
            "top_5": 97.3,
        },
        "orig_in21k_ft_in1k": {
            "url": (
                "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"
                "jx_vit_base_p16_224-80ecf9dd.pth"
            ),
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 81.782,
            "top_5": 96.122,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_base_patch16_224(
    img_size: Annotated[Pixels, MultipleOf(16)] = 224,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-B/16: 86.6 M parameters."""
    return build_vit((768, 12, 12, 16), img_size, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/vit_b_32-d86f8d99.pth",
            "top_1": 75.912,
            "top_5": 92.466,
        },
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "B_32-i21k-300ep-lr_0.001-aug_medium1-wd_0.03-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.03-res_224.npz"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 80.732,
            "top_5": 95.574,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_base_patch32_224(
    img_size: Annotated[Pixels, MultipleOf(32)] = 224,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-B/32: 88.2 M parameters."""
    return build_vit((768, 12, 12, 32), img_size, options)


@register_model(
    pretrained={
        "tv_in1k": {
            "url": "https://download.pytorch.org/models/vit_l_16-852ce7e3.pth",
            "crop_share": 0.925,
            "top_1": 79.662,
            "top_5": 94.638,
        },
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--"
                "imagenet2012-steps_20k-lr_0.01-res_224.npz"
            ),
            "sha256": None,
            "crop_share": 0.9,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 85.856,
            "top_5": 97.822,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_large_patch16_224(
    img_size: Annotated[Pixels, MultipleOf(16)] = 224,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-L/16: 304.3 M parameters."""
    return build_vit((1024, 24, 16, 16), img_size, options)


@register_model(classifier="head", converter="lab.models.vit.weights.convert")
def vit_mini_patch4_32(
    img_size: Annotated[Pixels, MultipleOf(4)] = 32,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build a ViT of our own sizes for small images and a CPU: width 64, 4 blocks, 2 heads, 0.21 M parameters."""
    return build_vit((64, 4, 2, 4), img_size, options)
