"""What trains when, by hand; patterns that cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lab import create_model
from lab.errors import ConfigError
from lab.training.freezing import Freezing, make_freezing


def net(name: str = "resnet18") -> nn.Module:
    with torch.device("meta"):
        return create_model(name, num_classes=3)


def freezing(model: nn.Module, heads: tuple[str, ...] = ("fc",), per_epoch: int = 10, **settings: Any) -> Freezing:
    return make_freezing(model, {"train": ["head"], "stages": [], "every": None} | settings, heads, per_epoch)


def tops(names: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_the_head_alone() -> None:
    found = freezing(net())
    assert found.ever == found.at(0).names == found.at(10**6).names == {"fc.weight", "fc.bias"}
    assert found.describe(found.at(7)) == "1,539 of 11,178,051 parameters train from step 0: head"  # 512 * 3 + 3


def test_stages_by_steps_and_epochs() -> None:
    stages = [
        {"step": 5, "train": ["layer4", "bn1"]},
        {"epoch": 2, "train": ["layer*.0.conv1"]},
        {"step": 30, "train": ["*"]},
    ]
    found = freezing(net(), stages=stages)
    assert [stage.step for stage in found.stages] == [0, 5, 20, 30]
    assert tops(found.at(4).names) == {"fc"}
    assert tops(found.at(5).names) == tops(found.at(19).names) == {"fc", "layer4", "bn1"}
    assert found.at(20).names - found.at(5).names == {f"layer{n}.0.conv1.weight" for n in (1, 2, 3)}
    assert len(found.ever) == len(found.sizes) == 62


def test_from_the_top_down() -> None:
    found = freezing(net(), every=10)
    below = ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"]
    assert [stage.step for stage in found.stages] == [0, 10, 20, 30, 40, 50]
    for count, stage in enumerate(found.stages, 1):
        assert tops(stage.names) - {"bn1"} == set(below[:count])
    vit = freezing(net("vit_tiny_patch16_224"), ("head",), every=1)
    assert len(vit.stages) == 1 + 12 + 1
    assert {"norm.weight", "blocks.11.attn.qkv.weight"} <= vit.at(1).names
    assert "blocks.10.attn.qkv.weight" not in vit.at(1).names
    assert vit.ever - vit.at(12).names == {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}


def test_what_the_network_keeps_frozen_stays_so() -> None:
    model = net()
    model.get_submodule("layer1").requires_grad_(False)
    found = freezing(model, stages=[{"step": 1, "train": ["*"]}])
    assert not any(name.startswith("layer1.") for name in found.ever)
    found.freeze_for_good(model)
    assert {name for name, value in model.named_parameters() if value.requires_grad} == found.ever
    with pytest.raises(ConfigError, match=r"train: 'layer1' matches nothing: the network itself keeps it frozen"):
        freezing(model, train=["layer1"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train": ["layer5"]}, r"unfreeze\.train: 'layer5' matches nothing: no parameter .*did you mean .*layer"),
        ({"train": ["zzz"]}, "it has conv1, bn1, layer1"),
        ({"stages": [{"step": 3, "train": ["fc", "lyer4"]}]}, r"stages\.0\.train: 'lyer4' matches nothing"),
        ({"stages": [{"step": 3, "train": ["fc"]}, {"step": 3, "train": ["*"]}]}, "step 3 comes after step 3"),
        ({"stages": [{"epoch": 1, "train": ["fc"]}, {"step": 9, "train": ["*"]}]}, "step 9 comes after step 10"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        freezing(net(), **settings)
    assert "\n" not in str(error.value)


def test_a_network_without_layers_has_none_to_unfreeze() -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.unfreeze\.every=5: Sequential has no blocks .* stages"):
        freezing(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), train=["1"], every=5)
