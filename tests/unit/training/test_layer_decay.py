"""The scale of each layer against timm's ``param_groups_layer_decay``, and by hand where a network is not timm's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lab import create_model
from lab.errors import ConfigError
from lab.models.vit.network import VisionTransformer
from lab.training import layer_decay
from lab.training.optimizers import parameter_groups

timm = pytest.importorskip("timm")
of_layers = pytest.importorskip("timm.optim").param_groups_layer_decay
DECAY = 0.75


def settings(**changes: Any) -> dict[str, Any]:
    base = {"name": "adamw", "lr": 0.1, "weight_decay": 0.05, "no_decay_norm_bias": True, "groups": []}
    return base | {"layer_decay": DECAY} | changes


def rates(net: nn.Module, **changes: Any) -> dict[str, float]:
    names = {id(value): name for name, value in net.named_parameters()}
    groups = parameter_groups(net, settings(**changes))
    assert [group["lr"] for group in groups] == sorted((group["lr"] for group in groups), reverse=True)
    return {names[id(value)]: group["lr"] for group in groups for value in group["params"]}


def of_timm(model: Any, coarse: bool = False) -> dict[str, float]:
    """Return timm's scales; it groups by single blocks, and ``coarse`` asks for its stages."""
    if coarse:
        layers = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
        return {name: DECAY ** (max(layers.values()) - layer) for name, layer in layers.items()}
    names = {id(value): name for name, value in model.named_parameters()}
    groups = of_layers(model, layer_decay=DECAY)
    return {names[id(value)]: group["lr_scale"] for group in groups for value in group["params"]}


def vit() -> tuple[nn.Module, dict[str, float]]:
    sizes: dict[str, Any] = {"embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 32, "num_classes": 5}
    model = timm.models.VisionTransformer(**sizes, patch_size=16)
    return VisionTransformer(**sizes), of_timm(model)


def vit_of_means() -> tuple[nn.Module, dict[str, float]]:
    sizes: dict[str, Any] = {
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "img_size": 32,
        "global_pool": "avg",
        "num_classes": 5,
    }
    theirs = of_timm(timm.models.VisionTransformer(**sizes, patch_size=16))
    for name in ("fc_norm.weight", "fc_norm.bias"):  # timm lists only `norm`: this one trains like the head there
        assert theirs.pop(name) == 1.0
        theirs[name] = DECAY
    return VisionTransformer(**sizes), theirs


def swin() -> tuple[nn.Module, dict[str, float]]:
    """A merging of patches stands at the end of a stage here, and belongs to its last block as in Swin's own code."""
    net, theirs = create_model("swin_tiny", num_classes=5), of_timm(timm.create_model("swin_tiny_patch4_window7_224"))
    theirs = {key.replace("head.fc", "head"): scale for key, scale in theirs.items() if "downsample" not in key}
    lasts = {"layers.0": DECAY**11, "layers.1": DECAY**9, "layers.2": DECAY**3}  # of 12 blocks: the 2nd, 4th and 10th
    return net, theirs | {
        f"{stage}.downsample.{name}": scale
        for stage, scale in lasts.items()
        for name in ("norm.weight", "norm.bias", "reduction.weight")
    }


def resnet() -> tuple[nn.Module, dict[str, float]]:
    return create_model("resnet18", num_classes=5), of_timm(timm.create_model("resnet18"), coarse=True)


CASES: dict[str, Callable[[], tuple[nn.Module, dict[str, float]]]] = {
    case.__name__: case for case in (vit, vit_of_means, swin, resnet)
}


@pytest.mark.parametrize("case", CASES)
def test_scales_are_timms(case: str) -> None:
    net, theirs = CASES[case]()
    ours = rates(net)
    assert ours.keys() == theirs.keys()
    for name, scale in theirs.items():
        assert ours[name] == pytest.approx(0.1 * scale, rel=1e-12), name


def test_mutants_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units in the wrong order, a unit left out, a norm taken for the head: each differs from timm's scales."""
    find = layer_decay.blocks_of
    for mutant in (lambda net: find(net)[::-1], lambda net: find(net)[1:]):
        monkeypatch.setattr(layer_decay, "blocks_of", mutant)
        with pytest.raises(AssertionError):
            test_scales_are_timms("vit")
    monkeypatch.setattr(layer_decay, "blocks_of", find)
    monkeypatch.setattr("lab.training.layer_decay._NORMS", ())
    with pytest.raises(AssertionError):
        test_scales_are_timms("vit")


def test_a_detectors_scales_by_hand() -> None:
    """Its backbone comes last in the order of its parameters and first in that of its units."""
    with torch.device("meta"):
        net = create_model("detr_resnet50", num_classes=3)
    net.requires_grad_(True)
    found = rates(net, lr=1.0)
    units = 4 + 6 + 1  # stages, layers of the encoder, the decoder
    stem = [name for name in found if name.startswith("backbone.0.body.") and ".layer" not in name]
    assert {found[name] for name in stem} == {DECAY ** (units + 1)}
    assert {found[name] for name in found if ".body.layer2." in name} == {DECAY ** (units + 1 - 2)}
    assert {found[name] for name in found if "encoder.layers.5." in name} == {DECAY**2}
    assert {found[name] for name in found if "class_embed" in name or "bbox_embed" in name} == {1.0}


def test_it_multiplies_the_rates_of_groups_and_leaves_weight_decay_alone() -> None:
    net = create_model("resnet18", num_classes=3)
    groups = parameter_groups(net, settings(groups=[{"pattern": r"^conv1", "lr": 1.0, "weight_decay": 0.5}]))
    of = {id(value): (group["lr"], group["weight_decay"]) for group in groups for value in group["params"]}
    assert of[id(net.get_parameter("conv1.weight"))] == (pytest.approx(DECAY**5), 0.5)
    assert of[id(net.get_parameter("bn1.weight"))] == (pytest.approx(0.1 * DECAY**5), 0.0)
    assert of[id(net.get_parameter("fc.weight"))] == (pytest.approx(0.1), 0.05)
    assert of[id(net.get_parameter("fc.bias"))] == (pytest.approx(0.1), 0.0)


def test_without_a_head_the_last_unit_has_the_full_rate() -> None:
    found = rates(create_model("alexnet", num_classes=3), lr=1.0)
    assert {found["classifier.6.weight"], found["classifier.6.bias"]} == {1.0}
    assert {found[name] for name in found if name.startswith("features")} == {DECAY**3}


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.layer_decay=0\.75: Linear has no blocks"):
        parameter_groups(nn.Linear(2, 2), settings())
    assert len(parameter_groups(nn.Linear(2, 2), settings(layer_decay=1.0))) == 2
