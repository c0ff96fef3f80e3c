"""``lab.deploy`` returns a copy with equal outputs, of every registered classifier and backbone, and says what."""

from __future__ import annotations

import copy
import io
import os
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lab
from lab.layers.convolution import FrozenBatchNorm2d
from lab.layers.deploy import Deployment, relative_difference
from lab.layers.folding import tensors_in
from lab.registry.arguments import signature_of
from lab.registry.models import model_entrypoint


def is_backbone(name: str) -> bool:
    signature = signature_of(model_entrypoint(name))
    return signature is not None and "features_only" in signature.arguments


BACKBONES = [name for name in lab.list_models() if is_backbone(name)]
ALL = bool(os.environ.get("LAB_ALL_MODELS"))
NOISE = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))


def outline(name: str, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return lab.create_model(name, **arguments).eval()


def filled(net: nn.Module) -> nn.Module:
    """Give a network without values weights that keep the size of what passes, and norms far from the identity."""
    net = net.to_empty(device="cpu")
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            value.zero_()
            continue
        noise = NOISE[torch.arange(value.numel()) % (len(NOISE) - 7)] if value.numel() < len(NOISE) else None
        noise = NOISE.repeat(-(-value.numel() // len(NOISE)))[: value.numel()] if noise is None else noise
        noise = noise.view(value.shape)
        if value.ndim >= 2:
            value.copy_(noise * (2 / value[0].numel()) ** 0.5)
        else:
            value.copy_(1 + 0.2 * noise.tanh() if name.endswith(("weight", "running_var")) else 0.1 * noise)
    return net


def outputs(net: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return list(tensors_in(net(images)))


SAME_PARTS = {"vit_": "vit_tiny_patch16_224", "swin_": "swin_tiny"}
"""Families without batch norms: of each the smallest one is computed, and the others are made of the same parts."""
COMPUTED = [name for name in BACKBONES if name in SAME_PARTS.values() or not name.startswith(tuple(SAME_PARTS))]
DEEP = re.compile(r"\w*(101|110|152|161|169|201)|wide_resnet50_2|vovnet(39|57|99)")
"""Larger ones of the same modules: they take longer than all others together, so they are tried when asked for."""
CASES = [
    pytest.param(
        name, key, marks=pytest.mark.skipif(bool(DEEP.match(name)) and not ALL, reason="LAB_ALL_MODELS is not set")
    )
    for name in COMPUTED
    for key in (False, True)
    if key or not name.startswith(("conv_stem", "vovnet"))  # backbones without a classifier
]


@pytest.mark.parametrize("prefix", SAME_PARTS)
def test_the_others_are_made_of_the_same_parts(prefix: str) -> None:
    large = {"vit_": "vit_large_patch16_384", "swin_": "swin_large"}[prefix]
    small, found = ({type(part) for part in outline(name).modules()} for name in (SAME_PARTS[prefix], large))
    assert found == small
    assert not small.intersection((nn.BatchNorm2d, FrozenBatchNorm2d))


@pytest.mark.parametrize(("name", "features_only"), CASES)
def test_the_copy_computes_the_same(name: str, features_only: bool) -> None:
    net = filled(outline(name, features_only=features_only))
    norms = {key for key, module in net.named_modules() if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d)}
    side = 63 if name == "alexnet" else 40
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    wanted = outputs(net, images)
    deployed: Any = lab.deploy(net, images[:1], layout="contiguous")
    report: Deployment = deployed.deployment
    difference = relative_difference(outputs(deployed, images), wanted)
    assert difference <= 1e-5  # worst measured 3.2e-6, the maps of MobileNetV2
    assert {*report.folded, *report.left} == norms
    assert not norms or report.folded
    if not name.startswith(("densenet", "wide_resnet28", "wide_resnet_tiny")):  # these normalise before they convolve
        assert not report.left
    del deployed
    assert relative_difference(outputs(net, images), wanted) == 0  # the original is as it was


@pytest.mark.parametrize("name", ["densenet121", "shufflenet_v2_x1_0", "vit_tiny_patch16_224"])
def test_full_size(name: str) -> None:
    net = filled(outline(name))
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    deployed: Any = lab.deploy(net, layout="contiguous" if name == "densenet121" else "auto")
    assert relative_difference(outputs(deployed, images), outputs(net, images)) <= 1e-5
    assert name == "densenet121" or set(deployed.deployment.seconds) == {"contiguous", "channels_last"}
    with torch.enable_grad():
        assert relative_difference([deployed(images)], outputs(net, images)) <= 1e-5


class Small(nn.Module):
    """A convolution with its norm, and one norm that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.last = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.last(self.bn(self.conv(x)).relu()))


IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(2))


def test_it_says_what_it_did() -> None:
    deployed: Any = lab.deploy(Small(), IMAGES)
    report = deployed.deployment
    assert report.folded == {"bn": "conv"}
    assert report.left == {"last": "no layer of its own before it"}
    assert report.packed == 1
    assert str(report).startswith("1 batch norms folded, 1 left (no layer of its own before it)")


def test_it_stays_in_evaluation_without_gradients() -> None:
    deployed = lab.deploy(Small(), IMAGES)
    wanted = outputs(deployed, IMAGES)
    for net in (deployed, copy.deepcopy(deployed)):
        nn.Sequential(net).train()
        assert net.train() is net
        assert not any(module.training for module in net.modules())
        assert not any(value.requires_grad for value in net.parameters())
        assert relative_difference(outputs(net, IMAGES), wanted) == 0
    again: Any = lab.deploy(deployed, IMAGES)
    assert not again.deployment.folded


def test_weights_are_stored_and_read() -> None:
    deployed, other = lab.deploy(Small(), IMAGES), lab.deploy(Small(), IMAGES)
    stored = io.BytesIO()
    torch.save(deployed.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    assert relative_difference(outputs(other, IMAGES), outputs(deployed, IMAGES)) == 0


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_a_layout_can_be_chosen(layout: Any) -> None:
    seen: list[bool] = []
    net = Small()
    deployed: Any = lab.deploy(net, IMAGES, layout)
    assert deployed.deployment.layout == layout
    deployed.conv.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    assert relative_difference(outputs(deployed, IMAGES), outputs(net.eval(), IMAGES)) <= 1e-5
    assert seen == [layout == "channels_last"]


class Task(nn.Module):
    """What a task of lab is to ``lab.deploy``."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Small()

    def terms(self, batch: Any) -> Any:
        raise NotImplementedError


def test_a_task_gets_a_network_for_inference() -> None:
    task = Task()
    deployed: Any = lab.deploy(task, IMAGES)
    assert isinstance(deployed, Task)
    assert deployed.net.deployment.folded == {"bn": "conv"}
    deployed.train()
    assert not deployed.net.training
    assert isinstance(task.net.bn, nn.BatchNorm2d)


class Unseen(Small):
    """Uses the convolution's weight in a way that no tensor shows."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.bn.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.conv.weight.detach().sum().item()


@pytest.mark.parametrize(
    ("model", "example", "words"),
    [
        ("resnet18", None, "str is no network: give an nn.Module, such as lab.create_model"),
        (nn.Linear(3, 4), None, "Linear has no convolution of images, so what it takes is not known: give example="),
        (Small(), torch.zeros(1, 5, 9, 9), r"Small could not be called with tensors of shape \(1, 5, 9, 9\)"),
        (Unseen(), IMAGES, "the outputs of Unseen differ by"),
    ],
)
def test_what_cannot_be_deployed_is_said(model: Any, example: Any, words: str) -> None:
    with pytest.raises(lab.LabError, match=words):
        lab.deploy(model, example)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_bfloat16_is_computed_where_it_cannot_be_packed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors without AVX-512, whether this one is such or not."""
    monkeypatch.setattr("lab.layers.packed.can_pack", lambda weight: weight.dtype == torch.float32)
    net = filled(outline(name)).to(torch.bfloat16)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    (expected,), (found,) = outputs(net, images), outputs(lab.deploy(net, images), images)
    assert found.dtype == torch.bfloat16
    assert float((found - expected).abs().max() / expected.abs().max()) < 0.1
