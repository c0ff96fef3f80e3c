"""The detectors' pyramid against torchvision's, whose extra levels are those of RetinaNet."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from lab.errors import ConfigError
from lab.layers.pyramid import FPN
from tests.classifiers import fill, worst

CHANNELS = (8, 12, 16)
EXTRA: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "none": (lambda: None, {"num_outs": 3}),
    "pool": (LastLevelMaxPool, {"num_outs": 4}),
    "on_output": (lambda: LastLevelP6P7(10, 10), {"add_extra_convs": "on_output", "relu_before_extra_convs": True}),
    "on_input": (lambda: LastLevelP6P7(16, 10), {"add_extra_convs": True, "relu_before_extra_convs": True}),
}


def maps(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Odd sizes: each map is half of the one before, rounded up."""
    generator = torch.Generator().manual_seed(0)
    sizes = zip(CHANNELS, ((13, 17), (7, 9), (4, 5)), strict=True)
    return [torch.randn(2, width, *size, generator=generator).to(dtype) for width, size in sizes]


def to_ours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's entries."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"inner_blocks\.(\d)\.0\.", r"lateral_convs.\1.conv.", key)
        key = re.sub(r"layer_blocks\.(\d)\.0\.", r"fpn_convs.\1.conv.", key)
        key = re.sub(r"extra_blocks\.p([67])\.", lambda found: f"fpn_convs.{int(found[1]) - 3}.conv.", key)
        renamed[key] = value
    return renamed


def pair(extra: str) -> tuple[FPN, nn.Module]:
    block, options = EXTRA[extra]
    theirs = FeaturePyramidNetwork(list(CHANNELS), 10, extra_blocks=block())
    fill(theirs)
    ours = FPN(CHANNELS, 10, **{"num_outs": 5, **options})
    ours.load_state_dict(to_ours(theirs.state_dict()), strict=True)
    return ours, theirs


@pytest.mark.parametrize("extra", EXTRA)
def test_maps_and_gradients_equal_torchvision(extra: str) -> None:
    ours, theirs = pair(extra)
    expected = list(theirs(dict(zip("abc", maps(), strict=True))).values())
    with torch.no_grad():
        found = ours(maps())
    assert [item.shape[1] for item in found] == list(ours.num_channels)
    assert max(map(worst, found, expected)) < 2e-6  # equal here: the same kernels
    grads = []
    for net in (ours.double(), theirs.double()):
        inputs = [item.requires_grad_() for item in maps(torch.float64)]
        outs = net(inputs) if net is ours else net(dict(zip("abc", inputs, strict=True))).values()
        sum(item.square().mean() for item in outs).backward()
        named = {key: value.grad for key, value in net.named_parameters()}
        named = named if net is ours else to_ours(named)  # type: ignore[arg-type]
        grads.append([*(named[key] for key in sorted(named)), *(item.grad for item in inputs)])
    assert max(map(worst, *grads)) < 1e-13  # type: ignore[arg-type]  # equal here


@pytest.mark.parametrize("mutant", ["order", "relu", "source"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    ours, theirs = pair("on_output")
    expected = list(theirs(dict(zip("abc", maps(), strict=True))).values())
    if mutant == "order":
        ours.fpn_convs[0], ours.fpn_convs[1] = ours.fpn_convs[1], ours.fpn_convs[0]
    elif mutant == "relu":
        ours.relu_before_extra_convs = False
    else:
        ours.extra_source = "on_lateral"
    assert max(map(worst, ours(maps()), expected)) > 1e-3


def test_detr3ds_neck_has_its_keys_and_a_relu_without_effect() -> None:
    """Three maps from level 1 and one more of the last output: MMDetection's relu begins with the second one."""
    options: dict[str, Any] = {"start_level": 1, "num_outs": 4, "add_extra_convs": "on_output"}
    necks = [FPN((4, *CHANNELS), 10, relu_before_extra_convs=value, **options) for value in (False, True)]
    assert list(necks[0].state_dict()) == [
        *(f"lateral_convs.{level}.conv.{name}" for level in range(3) for name in ("weight", "bias")),
        *(f"fpn_convs.{level}.conv.{name}" for level in range(4) for name in ("weight", "bias")),
    ]
    necks[1].load_state_dict(necks[0].state_dict(), strict=True)
    inputs = [torch.randn(2, 4, 26, 34), *maps()]
    found = [neck(inputs) for neck in necks]
    assert [tuple(item.shape[2:]) for item in found[0]] == [(13, 17), (7, 9), (4, 5), (2, 3)]
    assert all(torch.equal(*both) for both in zip(*found, strict=True))
    with torch.device("meta"):
        full = FPN((256, 512, 1024, 2048), 256, relu_before_extra_convs=True, **options)
    # By hand: laterals 256 x (512 + 1024 + 2048 + 3), outputs 4 x 256 x (9 x 256 + 1).
    assert sum(item.numel() for item in full.parameters()) == 918_272 + 2_360_320


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_level": 3}, "start_level=3"),
        ({"end_level": 3}, "end_level=3"),
        ({"num_outs": 2}, "num_outs=2: should be at least 3, the maps from level 0 to 2"),
        ({"end_level": 1, "num_outs": 4}, "num_outs=4: should be 2"),
        ({"add_extra_convs": "on_outputs"}, "did you mean 'on_output'"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        FPN(CHANNELS, 10, **options)
    with pytest.raises(ConfigError, match="2 maps came in, in_channels has 3"):
        FPN(CHANNELS, 10)(maps()[:2])
