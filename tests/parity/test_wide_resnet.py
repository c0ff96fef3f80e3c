"""WRN-28-2 against small references written here from what MixMatch's two codes do (reference: vision, section 9)."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab import create_model
from lab.errors import ConfigError
from lab.models.wide_resnet.network import Style, WideResNet
from tests.agreement import Compared
from tests.classifiers import fill, gradients_apart, images, logits_apart, worst

PEER = Compared("wide_resnet", "MixMatch's and its port in plain torch")


class Reference(nn.Module):
    """Both codes with tensors and functions only; parameters are those of a state dict, by name."""

    def __init__(self, state: dict[str, Tensor], style: Style, units: int, blocks: int = 3) -> None:
        super().__init__()
        self.style, self.units, self.blocks = style, units, blocks
        self.names = list(state)
        for name, value in state.items():
            if value.is_floating_point() and not name.endswith(("running_mean", "running_var")):
                self.register_parameter(name.replace(".", "/"), nn.Parameter(value.clone()))
            else:
                self.register_buffer(name.replace(".", "/"), value.clone())

    def get(self, name: str) -> Tensor | None:
        return getattr(self, name.replace(".", "/"), None)

    def convolve(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.get(f"{name}.weight")
        assert weight is not None
        kernel = weight.shape[-1]
        if self.style == "mixmatch":  # TensorFlow's "same": what is odd stands behind
            for axis in (3, 2):
                size = x.shape[axis]
                total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
                sides = [0, 0, 0, 0]
                sides[(3 - axis) * 2], sides[(3 - axis) * 2 + 1] = total // 2, total - total // 2
                x = F.pad(x, sides)
            return F.conv2d(x, weight, self.get(f"{name}.bias"), stride)
        return F.conv2d(x, weight, None, stride, kernel // 2)

    def activate(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.get(f"{name}.{key}") for key in ("running_mean", "running_var", "weight", "bias")
        )
        epsilon = 1e-3 if self.style == "mixmatch" else 1e-5
        return F.leaky_relu(F.batch_norm(x, mean, var, weight, bias, self.training, 0.001, epsilon), 0.1)

    def unit(self, x: Tensor, name: str, stride: int, is_first: bool) -> Tensor:
        equal = self.get(f"{name}.convShortcut.weight") is None
        if self.style == "mixmatch":
            out = self.activate(x, f"{name}.bn1")
            x = out if is_first else x
        elif not equal and is_first:
            out = x = self.activate(x, f"{name}.bn1")
        else:
            out = self.activate(x, f"{name}.bn1") if equal else x
        out = self.activate(self.convolve(out, f"{name}.conv1", stride), f"{name}.bn2")
        out = self.convolve(out, f"{name}.conv2")
        return out + (x if equal else self.convolve(x, f"{name}.convShortcut", stride))

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolve(x, "conv1")
        for block in range(self.blocks):
            for unit in range(self.units):
                stride = 2 if block and not unit else 1
                x = self.unit(x, f"block{block + 1}.layer.{unit}", stride, block == 0 and unit == 0)
        x = self.activate(x, "bn1").mean(dim=(2, 3))
        weight = self.get("fc.weight")
        assert weight is not None
        return F.linear(x, weight, self.get("fc.bias"))


class Renamed(nn.Module):
    """Ours with the parameter names of the reference."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.forward = net.forward
        self.net = net

    def named_parameters(self, *args: object, **options: object):  # type: ignore[no-untyped-def]
        return ((name.replace(".", "/"), value) for name, value in self.net.named_parameters())

    def named_buffers(self, *args: object, **options: object):  # type: ignore[no-untyped-def]
        return ((name.replace(".", "/"), value) for name, value in self.net.named_buffers())


def pair(depth: int, style: Style, widen: int = 2, scales: int = 3) -> tuple[nn.Module, Reference]:
    """Return ours and the reference with the same unkind weights."""
    ours = WideResNet(depth, widen, 10, style=style, scales=scales)
    fill(ours)
    return ours, Reference(ours.state_dict(), style, (depth - 4) // 6, scales)


SHAPES = [(10, 1, 3, 32), (10, 1, 4, 48), (16, 2, 3, 37), (28, 2, 3, 32)]


@pytest.mark.parametrize("style", ["mixmatch", "port"])
@pytest.mark.parametrize(("depth", "widen", "scales", "size"), SHAPES)
def test_logits_equal_the_reference(style: Style, depth: int, widen: int, scales: int, size: int) -> None:
    ours, theirs = pair(depth, style, widen, scales)
    assert PEER.agrees(
        "logits", logits_apart(ours, theirs, images(2, height=size, width=size)), 5e-6
    )  # worst measured: 4.4e-7


@pytest.mark.parametrize("style", ["mixmatch", "port"])
@pytest.mark.parametrize("depth", [10, 28])
def test_training_equals_the_reference(style: Style, depth: int) -> None:
    """Logits, every gradient and the running statistics, in float64: batch statistics amplify float32's rounding."""
    ours, theirs = (model.double() for model in pair(depth, style))
    renamed = Renamed(ours)
    apart = gradients_apart(renamed, theirs, images(4, height=32, width=32).double())
    assert PEER.agrees("training in double precision", apart, 1e-11)  # worst measured: 2.4e-13


@pytest.mark.parametrize("mutant", ["shortcut", "slope", "epsilon", "padding"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    ours, theirs = pair(10, "mixmatch")
    unit = ours.get_submodule("block2.layer.0")
    if mutant == "shortcut":  # each begins after the activation, not the first one's alone
        unit.activates_shortcut = True
    elif mutant == "slope":
        ours.bn1.forward = lambda x, norm=ours.bn1.forward: F.relu(norm(x))
    elif mutant == "epsilon":
        ours.bn1.eps = 1e-5
    else:
        unit.pads_same, unit.conv1.padding = False, (1, 1)
    assert logits_apart(ours, theirs, images(2, height=32, width=32)) > 1e-4


def test_sizes_are_those_of_the_port() -> None:
    def size(style: str) -> int:
        return sum(value.numel() for value in create_model("wide_resnet28_2", style=style).parameters())

    assert size("port") == 1_467_610  # the port's README and reference
    biases = 16 + sum(9 * width for width in (32, 64, 128))  # of the stem; of each block: 8 convolutions, a shortcut
    assert size("mixmatch") == 1_467_610 + biases


def test_weights_begin_as_mixmatch_draws_them() -> None:
    torch.manual_seed(0)
    net = create_model("wide_resnet28_2")
    weight = net.get_submodule("block3.layer.1").conv1.weight
    assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert float(net.fc.weight.detach().std()) == pytest.approx(math.sqrt(2 / (128 + 10)), rel=0.1)
    assert not any(value.any() for name, value in net.named_parameters() if name.endswith("conv1.bias"))
    assert net.bn1.momentum == pytest.approx(0.001)
    faster = create_model("wide_resnet_tiny", momentum=0.1)
    assert {part.momentum for part in faster.modules() if isinstance(part, nn.BatchNorm2d)} == {0.1}


def test_as_a_backbone() -> None:
    ours, _ = pair(10, "mixmatch", 1)
    backbone = create_model("wide_resnet_tiny", features_only=True, out_indices=(0, 1, 2, 3, 4)).eval()
    report = backbone.load_state_dict(ours.state_dict(), strict=False)
    assert {key.partition(".")[0] for key in report.missing_keys} == {"block4"}
    assert {key.partition(".")[0] for key in report.unexpected_keys} == {"bn1", "fc"}
    assert (backbone.num_channels, backbone.strides) == ((16, 16, 32, 64, 128), (1, 1, 2, 4, 8))
    with torch.inference_mode():
        maps = backbone(images())
        pooled = F.leaky_relu(ours.eval().bn1(maps[3]), 0.1).mean(dim=(2, 3))
        assert worst(ours.fc(pooled), ours(images())) < 1e-6
    assert [map_.shape[1:] for map_ in maps[3:]] == [(64, 17, 20), (128, 9, 10)]


def test_what_is_frozen_in_the_port_has_no_gradient() -> None:
    net = create_model("wide_resnet_tiny", style="port", in_chans=1)
    net(images(channels=1, height=32, width=32)).sum().backward()
    idle = {name for name, value in net.named_parameters() if value.grad is None}
    assert idle == {f"block{block}.layer.0.bn1.{key}" for block in (2, 3) for key in ("weight", "bias")}
    assert not any(value.requires_grad for name, value in net.named_parameters() if name in idle)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="depth=12 of a wide ResNet: expected 6 n"):
        WideResNet(12)
    with pytest.raises(ConfigError, match=r"out_indices=\(5,\)"):
        create_model("wide_resnet28_2", features_only=True, out_indices=(5,))
    with pytest.raises(ConfigError, match="style"):
        create_model("wide_resnet28_2", style="ported")
