"""ResNet with deformable stages against torchvision's network with torchvision's operator in its bottlenecks."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from lab import create_model
from lab.errors import ConfigError
from lab.models.resnet.network import DEPTHS
from lab.models.resnet.weights import convert, to_mmdetection
from tests.agreement import Compared
from tests.classifiers import fill, gradients_apart, images, logits_apart, multiplications

SHORT = (1, 2, 2, 2)
"""Blocks of each stage: deformable ones with and without a stride."""
STAGES = (False, False, True, True)


PEER = Compared("resnet", "torchvision's deformable convolution")


class Deformable(torchvision.ops.DeformConv2d):
    """mmcv's layer, as its documentation describes it: offsets and the logits of masks from one convolution."""

    def __init__(self, plain: nn.Conv2d, deform_groups: int) -> None:
        geometry: Any = (plain.kernel_size, plain.stride, plain.padding, plain.dilation, plain.groups)
        super().__init__(plain.in_channels, plain.out_channels, *geometry, bias=False)
        self.conv_offset = nn.Conv2d(plain.in_channels, 27 * deform_groups, *geometry[:4])

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        first, second, mask = self.conv_offset(x).chunk(3, dim=1)
        found: Tensor = super().forward(x, torch.cat((first, second), dim=1), mask.sigmoid())
        return found


def pair(style: str, groups: int, width: int, deform_groups: int, **options: Any) -> tuple[nn.Module, nn.Module]:
    theirs: Any = torchvision.models.resnet.ResNet(
        Bottleneck, list(SHORT), num_classes=5, groups=groups, width_per_group=width
    )
    for name, block in theirs.named_modules():
        if not isinstance(block, Bottleneck):
            continue
        if style == "caffe":
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
        if STAGES[int(name[len("layer")]) - 1]:
            block.conv2 = Deformable(block.conv2, deform_groups)
    name = "resnet50" if groups == 1 else "resnext50_32x4d"
    options = {"style": style, "stage_with_dcn": STAGES, "deform_groups": deform_groups, **options}
    ours = create_model(name, num_classes=5, **options)
    fill(theirs, gain=1.0)
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if "conv_offset.bias" in name:
                value.mul_(4)  # offsets beyond the next pixel
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ResNet-50 have fewer blocks."""
    monkeypatch.setitem(DEPTHS, 50, SHORT)


@pytest.mark.parametrize(
    ("style", "groups", "width", "deform_groups"), [("caffe", 1, 64, 1), ("pytorch", 32, 4, 4)], ids=str
)
def test_logits_and_gradients_equal_torchvisions_operator(
    style: str, groups: int, width: int, deform_groups: int
) -> None:
    ours, theirs = pair(style, groups, width, deform_groups)
    assert PEER.agrees("logits", logits_apart(ours, theirs, images()), 1e-5)  # worst measured: 3.2e-7
    apart = gradients_apart(ours.double(), theirs.double(), images().double())
    assert PEER.agrees("training in double precision", apart, 1e-9)  # worst measured: 2.3e-13


@pytest.mark.parametrize("mutant", ["mask", "offset", "stage"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    ours, theirs = pair("caffe", 1, 64, 1)
    layer: Any = ours.get_submodule("layer4.1.conv2")
    if mutant == "mask":
        layer.conv_offset.bias.data[18:] += 1
    elif mutant == "offset":
        layer.conv_offset.weight.data[:18] = layer.conv_offset.weight[:18].flip(0)
    else:
        ours.get_submodule("layer3.1").conv2 = _plain(ours.get_submodule("layer3.1.conv2"))
    assert logits_apart(ours, theirs, images()) > 1e-3


def _plain(layer: Any) -> nn.Conv2d:
    plain = nn.Conv2d(256, 256, 3, padding=1, bias=False)
    plain.weight = layer.weight
    return plain


def test_a_new_layer_is_half_a_convolution_and_trains_its_offsets() -> None:
    """Offsets of 0 and masks of 1/2, as mmcv begins; frozen norms, as DETR3D has them, become a part of the weight."""
    net: Any = create_model("resnet50", features_only=True, norm="frozen_batch_norm", stage_with_dcn=STAGES)
    layer = net.layer3[0].conv2
    x = torch.randn(2, 256, 9, 11)
    expected = nn.functional.conv2d(x, layer.weight, None, 2, 1) / 2
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    sum(item.mean() for item in net(images())).backward()
    assert layer.conv_offset.weight.grad.abs().max() > 0
    seen: list[Tensor] = []
    with torch.no_grad():
        before = net(images())[-1]
        net.layer4[1].conv2.register_forward_hook(lambda module, inputs, output: seen.append(output))
        torch.testing.assert_close(net(images())[-1], before, rtol=1e-4, atol=1e-4)
    assert len(seen) == 1


def test_recomputed_blocks_have_the_same_gradients() -> None:
    ours, _ = pair("caffe", 1, 64, 1, with_cp=True)
    plain, _ = pair("caffe", 1, 64, 1)
    assert gradients_apart(ours.double(), plain.double(), images().double()) < 1e-9  # equal here


def test_sizes_and_keys_of_detr3ds_backbone() -> None:
    with torch.device("meta"):
        plain = create_model("resnet101", features_only=True, style="caffe")
        net = create_model("resnet101", features_only=True, style="caffe", stage_with_dcn=STAGES)
        x, found = torch.empty(1, 3, 64, 96), []
        # The same products, and those of the offsets: 27 x 9 for each channel of 23 maps of 4x6, 3 maps of 2x3.
        net.register_forward_hook(lambda module, inputs, outputs: found.extend(outputs))
        more = multiplications(net, x) - multiplications(plain, x)
        sizes = [tuple(item.shape) for item in found]
    assert sizes == [(1, 256, 16, 24), (1, 512, 8, 12), (1, 1024, 4, 6), (1, 2048, 2, 3)]
    assert more == pytest.approx(27 * 9 * (23 * 256 * 24 + 3 * 512 * 6) / 1e9, rel=1e-6)
    extra = net.state_dict().keys() - plain.state_dict().keys()
    blocks = [*(f"layer3.{block}" for block in range(23)), *(f"layer4.{block}" for block in range(3))]
    assert extra == {f"{block}.conv2.conv_offset.{name}" for block in blocks for name in ("weight", "bias")}
    count = sum(item.numel() for item in net.parameters())
    # torchvision's 44,549,160 without its head of 2,049,000, and 27 offsets and masks for each block.
    assert count == 42_500_160 + 27 * (23 * (256 * 9 + 1) + 3 * (512 * 9 + 1))
    old = {key.replace("conv2.conv_offset", "conv2_offset"): value for key, value in net.state_dict().items()}
    assert convert(old).keys() == to_mmdetection(net.state_dict()).keys() == net.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet18", {"stage_with_dcn": STAGES}, "stage_with_dcn needs bottleneck blocks"),
        ("resnet50", {"stage_with_dcn": (True,)}, "stage_with_dcn has four entries, for layer1 to layer4"),
        ("resnet50", {"stage_with_dcn": STAGES, "deform_groups": 3}, "should be a multiple of deform_groups=3"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        create_model(name, **options)
