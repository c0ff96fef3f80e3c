"""Grad-CAM against split networks of torchvision and planted cases; attention against an unfused ViT's own weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import lab
from lab.errors import ConfigError
from lab.inspection.heat import attention_weights, grad_cam, heat_maps, last_map, method_for, rollout
from lab.models.swin.network import SwinTransformer
from tests.classifiers import fill, images, worst

LABELS = torch.tensor([2, 0])


def pooled(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def resnet(net: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    x = net.maxpool(F.relu(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x)))), lambda maps: net.fc(pooled(maps))


def features(net: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    return net.features(x), lambda maps: net.classifier(pooled(maps))


def densenet(net: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    return F.relu(net.features(x)), lambda maps: net.classifier(pooled(maps))


def shufflenet(net: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    x = net.maxpool(net.conv1(x))
    return net.conv5(net.stage4(net.stage3(net.stage2(x)))), lambda maps: net.fc(pooled(maps))


@pytest.mark.parametrize(
    ("name", "layer", "split"),
    [
        ("resnet18", "layer4", resnet),
        ("mobilenet_v2", "features.18", features),
        ("densenet121", "features.norm5", densenet),
        ("shufflenet_v2_x0_5", "conv5", shufflenet),
    ],
)
def test_grad_cam_is_that_of_a_split_network(
    name: str, layer: str, split: Callable[[Any, Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]
) -> None:
    """The gradient of torchvision's own head at its own feature map. Worst relative error: 1.2e-5 (2026-11-28)."""
    ours, theirs = lab.create_model(name, num_classes=5).eval(), getattr(torchvision.models, name)(num_classes=5).eval()
    fill(ours)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = images(2, height=80, width=96)
    maps, head = split(theirs, x)
    maps = maps.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(sum(head(maps)[row, label] for row, label in enumerate(LABELS)), maps)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()
    assert last_map(ours, x[:1]) == layer
    assert float(expected.max()) > 0
    assert worst(grad_cam(ours, x, LABELS), expected) < 5e-5
    for parameter in ours.parameters():
        parameter.requires_grad_(False)
    with torch.inference_mode():
        assert worst(grad_cam(ours, x.clone(), LABELS.clone()), expected) < 5e-5, "frozen, in inference"
    one = grad_cam(ours, x[1:], LABELS[1:])
    assert worst(one, expected[1:]) < 5e-5, "an image's map does not depend on the others"
    assert not any(part._forward_hooks for part in ours.modules())


class Corner(nn.Module):
    """Class 0 looks at the upper left corner alone, class 1 at the lower right one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.seen = Mask()
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.seen(self.conv(x)).mean((2, 3))


class Mask(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(2, *x.shape[2:])
        mask[0, :4, :4] = mask[1, -4:, -4:] = 1
        return x * mask


def test_a_network_that_looks_at_one_corner() -> None:
    x = torch.ones(2, 3, 12, 16)
    heat = heat_maps(Corner(), x, torch.tensor([0, 1]), "grad_cam")
    expected = torch.zeros(2, 12, 16)
    expected[0, :4, :4] = expected[1, -4:, -4:] = 1
    assert torch.equal(heat, expected)
    assert torch.equal(heat_maps(Corner(), -x, torch.tensor([0, 1]), "grad_cam"), torch.zeros(2, 12, 16)), "cut off"
    assert torch.equal(grad_cam(Corner(), x, torch.tensor([0, 1]), "conv"), torch.full((2, 12, 16), 3 * 16 / 192**2))


def timm_weights(net: Any, x: Tensor) -> list[Tensor]:
    """Return each block's attention (B, heads, N, N) as timm computes it unfused."""
    found: list[Tensor] = []
    for block in net.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, arguments, output: found.append(output.detach()))
    net(x)
    return found


def rolled_out(weights: list[Tensor]) -> np.ndarray:
    """Return (B, N - 1) in numpy and float64, the formula read from the paper."""
    maps = []
    for image in range(len(weights[0])):
        whole = np.eye(weights[0].shape[-1])
        for layer in weights:
            mixed = layer[image].double().numpy().mean(0) + np.eye(len(whole))
            whole = (mixed / mixed.sum(-1, keepdims=True)) @ whole
        maps.append(whole[0, 1:])
    return np.stack(maps)


def test_attention_and_rollout_are_those_of_an_unfused_vit() -> None:
    """Worst error of the weights, which are at most 1: 6.6e-7; of the rollout, relative: 1.8e-7 (2026-11-28)."""
    ours = lab.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64).eval()
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64).eval()
    fill(ours, gain=1.0)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = images(2, height=64, width=64)
    expected = timm_weights(theirs, x)
    with torch.inference_mode(), lab.capture(ours, "blocks.*.attn.qkv") as seen:
        ours(x)
    found = [attention_weights(seen[f"blocks.{index}.attn.qkv"], 3) for index in range(12)]
    errors = [float((one - other).abs().max()) for one, other in zip(found, expected, strict=True)]
    assert max(errors) < 3e-6
    unscaled = [(3**0.5 * one.clamp(min=1e-9).log()).softmax(-1) for one in found]
    assert float((unscaled[0] - expected[0]).abs().max()) > 1e-3, "a wrong scale is seen"
    by_hand = torch.from_numpy(rolled_out(expected)).float().view(2, 4, 4)
    assert worst(rollout(ours, x), by_hand) < 1e-5
    without_identity = torch.from_numpy(rolled_out([2 * one - torch.eye(17) for one in expected])).float()
    assert worst(rollout(ours, x), without_identity.view(2, 4, 4)) > 1e-3


def test_rollout_of_images_of_any_size_and_of_a_mean() -> None:
    net = lab.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, global_pool="avg").eval()
    maps = rollout(net, images(1, height=33, width=64))
    assert maps.shape == (1, 3, 4)
    with torch.no_grad():  # of uniform attention every patch gets its share
        for block in net.blocks:
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
    torch.testing.assert_close(rollout(net, images(1, height=32, width=32)).flatten(), torch.full((4,), MEAN))


MEAN = 0.5**12 / 4 + (1 - 0.5**12) / 5
"""Of twelve blocks over five tokens: what half of each stays itself, spread over four patches, and the uniform rest."""


def test_what_does_not_suit_is_refused() -> None:
    vit = lab.create_model("vit_tiny_patch16_224", img_size=32)
    resnet = lab.create_model("resnet18")
    x = images(1, height=32, width=32)
    assert (method_for(vit), method_for(resnet)) == ("rollout", "grad_cam")
    with pytest.raises(
        ConfigError, match="VisionTransformer has tokens instead of feature maps: explain it by rollout"
    ):
        grad_cam(vit, x, LABELS[1:])
    with pytest.raises(ConfigError, match="ResNet has no attention from every token to every other, as a ViT has"):
        rollout(resnet, x)
    with pytest.raises(ConfigError, match=r"takes no layer \('blocks.0'\): that is for grad_cam"):
        heat_maps(vit, x, LABELS[1:], "rollout", "blocks.0")
    with pytest.raises(ConfigError, match="ResNet has no module 'layer5'; did you mean 'layer4'"):
        grad_cam(resnet, x, LABELS[1:], "layer5")
    with pytest.raises(ConfigError, match=r"'layer\?' names several modules of ResNet; Grad-CAM takes one"):
        grad_cam(resnet, x, LABELS[1:], "layer?")
    with pytest.raises(ConfigError, match="'fc' gives no feature map"):
        grad_cam(resnet.eval(), x, LABELS[1:], "fc")
    with pytest.raises(ConfigError, match="Sequential has no feature map of more than one place"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), x, LABELS[1:])


class Places(nn.Module):
    """Maps with their channels last, as Swin's."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).mean((1, 2))


def test_channels_may_be_last() -> None:
    x = images(1, height=5, width=7)
    net = Places()
    maps = net.norm(x.permute(0, 2, 3, 1))
    assert worst(grad_cam(net, x, torch.tensor([1])), maps[..., 1].relu() / 35) < 1e-6


@pytest.mark.parametrize(("height", "width", "layer", "shape"), [(32, 64, "norm", (4, 8)), (8, 8, "layers.0", (2, 2))])
def test_swin_has_maps(height: int, width: int, layer: str, shape: tuple[int, int]) -> None:
    """Its attention stays within windows, so there is no rollout; a last map of one place is left out."""
    net = SwinTransformer(embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3).eval()
    x = images(1, height=height, width=width)
    assert method_for(net) == "grad_cam"
    assert last_map(net, x).startswith(layer)
    heat = grad_cam(net, x, LABELS[:1])
    assert heat.shape == (1, *shape)
    with pytest.raises(ConfigError, match="SwinTransformer has no attention from every token to every other"):
        rollout(net, x)
