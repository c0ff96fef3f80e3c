"""The registered Vision Transformers at 384 pixels; ``variants`` has those at 224, and says what the tags are."""

from __future__ import annotations

from typing import Annotated

from lab.models.vit.network import VisionTransformer, ViTFeatures
from lab.models.vit.variants import OPTIONS, ViTOptions, build_vit
from lab.ranges import MultipleOf, Pixels
from lab.registry.models import register_model


@register_model(
    pretrained={
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.03-res_384.npz"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 78.438,
            "top_5": 94.542,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_tiny_patch16_384(
    img_size: Annotated[Pixels, MultipleOf(16)] = 384,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-Ti/16 at 384 pixels: 5.8 M parameters."""
    return build_vit((192, 12, 3, 16), img_size, options)


@register_model(
    pretrained={
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.03-res_384.npz"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 83.814,
            "top_5": 97.106,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_small_patch16_384(
    img_size: Annotated[Pixels, MultipleOf(16)] = 384,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-S/16 at 384 pixels: 22.2 M parameters."""
    return build_vit((384, 12, 6, 16), img_size, options)


@register_model(
    pretrained={
        "deit_in1k": {
            "url": "https://dl.fbaipublicfiles.com/deit/deit_base_patch16_384-8de9b5d1.pth",
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "top_1": 83.108,
            "top_5": 96.376,
        },
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.01-res_384.npz"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 86.01,
            "top_5": 97.998,
        },
        "orig_in21k_ft_in1k": {
            "url": (
                "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"
                "jx_vit_base_p16_384-83fb41ba.pth"
            ),
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 84.212,
            "top_5": 97.21,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_base_patch16_384(
    img_size: Annotated[Pixels, MultipleOf(16)] = 384,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-B/16 at 384 pixels: 86.9 M parameters."""
    return build_vit((768, 12, 12, 16), img_size, options)


@register_model(
    pretrained={
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "B_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0--"
                "imagenet2012-steps_20k-lr_0.03-res_384.npz"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 83.358,
            "top_5": 96.828,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_base_patch32_384(
    img_size: Annotated[Pixels, MultipleOf(32)] = 384,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-B/32 at 384 pixels: 88.3 M parameters."""
    return build_vit((768, 12, 12, 32), img_size, options)


@register_model(
    pretrained={
        "augreg_in21k_ft_in1k": {
            "url": (
                "https://storage.googleapis.com/vit_models/augreg/"
                "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--"
                "imagenet2012-steps_20k-lr_0.01-res_384.npz"
            ),
            "sha256": None,
            "image_size": 384,
            "crop_share": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "top_1": 87.096,
            "top_5": 98.302,
        },
    },
    classifier="head",
    converter="lab.models.vit.weights.convert",
)
def vit_large_patch16_384(
    img_size: Annotated[Pixels, MultipleOf(16)] = 384,
    options: ViTOptions = OPTIONS,
) -> VisionTransformer | ViTFeatures:
    """Build ViT-L/16 at 384 pixels: 304.7 M parameters."""
    return build_vit((1024, 24, 16, 16), img_size, options)
