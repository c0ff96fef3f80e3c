"""Parameters and multiplications of every registered classifier, as torchvision and timm publish them.

The classifiers are those that the registry lists, so a new one is tested by existing: either one of the two publishes
its numbers, under its own name or one of ``THEIR_NAMES``, or ``BY_HAND`` has them with the reason.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lab import create_model
from lab.registry import list_models
from lab.registry.build import taken_arguments
from tests.classifiers import multiplications
from tests.published import published_costs

CLASSIFIERS = [name for name in list_models() if {"num_classes", "features_only"} <= set(taken_arguments(name))]
THEIR_NAMES = {
    "mobilenet_v2": ("mobilenetv2_100",),
    "resnetv1d50": ("resnet50d",),
    "resnetv1d101": ("resnet101d",),
    "resnetv1d152": ("resnet152d",),
    "shufflenet_v2_yolo_fastest": ("shufflenet_v2_x0_5",),
    "swin_base_window12": ("swin_base_patch4_window12_384",),
    "swin_large_window12": ("swin_large_patch4_window12_384",),
    "vit_base_patch16_224": ("vit_b_16",),
    "vit_base_patch32_224": ("vit_b_32",),
    "vit_large_patch16_224": ("vit_l_16",),
    **{f"swin_{size}": (f"swin_{size}_patch4_window7_224",) for size in ("tiny", "small", "base", "large")},
}
"""What torchvision or timm call the same network, where it is not our name."""


def _cifar(blocks: int) -> tuple[float, float, int, str]:
    """Return the sizes of a ResNet of 6n+2 layers for 32 pixels: section 4.2 of the paper, counted by hand.

    Each 3x3 convolution of a stage takes 2,359,296 multiplications, the first one of stages 2 and 3 half of that.
    """
    products = 442_368 + (6 * blocks - 1) * 2_359_296 + 640
    weights = 9 * (3 * 16 + 2 * blocks * 16**2 + sum((2 * blocks - 0.5) * width**2 for width in (32, 64)))
    norms = 2 * (16 + 2 * blocks * (16 + 32 + 64))
    return (weights + norms + 650) / 1e6, products / 1e9, 32, "for CIFAR: neither library has it"


def _wide(depth: int, widen: int) -> tuple[float, float, int, str]:
    """Return the sizes of MixMatch's WRN for 32 pixels, with its biases, counted by hand."""
    units, widths = (depth - 4) // 6, [16, 16 * widen, 32 * widen, 64 * widen]
    weights, products = 9 * 3 * 16 + 16, 32 * 32 * 9 * 3 * 16
    for side, before, width in zip((32, 16, 8), widths, widths[1:], strict=False):
        convolutions = 9 * (before * width + (2 * units - 1) * width**2)
        shortcut = before * width if before != width else 0
        norms = 2 * (before + (2 * units - 1) * width)
        weights += convolutions + 2 * units * width + shortcut + (width if shortcut else 0) + norms
        products += side * side * (convolutions + shortcut)
    weights += 2 * widths[3] + 10 * widths[3] + 10
    return weights / 1e6, (products + 10 * widths[3]) / 1e9, 32, "MixMatch's, with biases: neither library has it"


def _vit(width: int, depth: int, patch: int, side: int) -> tuple[float, float, int, str]:
    """Return the sizes of a ViT with a class token, counted by hand: heads change neither."""
    patches = (side // patch) ** 2
    tokens, matrices = patches + 1, 12 * width**2  # qkv 3, proj 1, two of four times the width
    weights = depth * (matrices + 13 * width) + 3 * patch**2 * width + width  # biases 9, norms 4
    weights += width + tokens * width + 2 * width + 1000 * width + 1000  # class token, places, norm, head
    products = patches * 3 * patch**2 * width + depth * (tokens * matrices + 2 * tokens**2 * width) + 1000 * width
    return weights / 1e6, products / 1e9, side, "a size of our own"


BY_HAND: dict[str, tuple[float, float, int, str]] = {
    **{f"resnet{6 * blocks + 2}": _cifar(blocks) for blocks in (3, 5, 7, 9, 18)},
    "vit_mini_patch4_32": _vit(64, 4, 4, 32),
    "wide_resnet28_2": _wide(28, 2),
    "wide_resnet_tiny": _wide(10, 1),
}
"""Millions of parameters, 1e9 multiplications, side of the images and why no library has them."""


def sizes(name: str, side: int) -> tuple[int, float, float]:
    """Return parameters, 1e9 multiplications, and these as timm's counter has them.

    With gradients: without them the counter misses fused attention. timm's numbers are fvcore's, which adds 2 for each
    value that a batch norm reads and 5 for a layer norm.
    """
    norms: list[int] = []

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        norms.append((5 if isinstance(module, nn.LayerNorm) else 2) * inputs[0].numel())

    with torch.device("meta"):
        model: Any = create_model(name).eval()
        for module in model.modules():
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.register_forward_hook(add)
        products = multiplications(model, torch.empty(1, 3, side, side))
    return sum(value.numel() for value in model.parameters()), products, products + sum(norms) / 1e9


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_sizes_are_as_published(name: str) -> None:
    names = (name, *THEIR_NAMES.get(name, ()))
    side = next((int(each[-3:]) for each in names if each.endswith(("_224", "_384"))), 224)
    if name in BY_HAND:
        millions, gmacs, side, _ = BY_HAND[name]
        parameters, products, _ = sizes(name, side)
        assert parameters == round(millions * 1e6)
        assert products == pytest.approx(gmacs, rel=1e-6)
        return
    parameters, products, counted = sizes(name, side)
    known = [each for each in names if each in torchvision.models.list_models()]
    for each in known:
        meta = torchvision.models.get_model_weights(each)["IMAGENET1K_V1"].meta
        assert parameters == meta["num_params"]
        assert products == pytest.approx(meta["_ops"], abs=5.1e-4)
    costs = published_costs() if not known else _costs_if_there()
    rows = [costs[each, side] for each in names if (each, side) in costs]
    assert known or rows, f"{name}: neither torchvision nor timm publishes it: give BY_HAND its numbers and why"
    for millions, gmacs in rows:
        assert parameters / 1e6 == pytest.approx(millions, abs=5.1e-3)
        assert counted == pytest.approx(gmacs, abs=5.1e-3)


def _costs_if_there() -> dict[tuple[str, int], tuple[float, float]]:
    """Return timm's numbers, or none where its file is missing: torchvision's are compared all the same."""
    try:
        return published_costs()
    except pytest.skip.Exception:
        return {}


def test_the_dictionaries_name_registered_classifiers() -> None:
    assert {*BY_HAND, *THEIR_NAMES} <= set(CLASSIFIERS)
    assert len(CLASSIFIERS) > 35
