"""A convolution with its norm, addition and activation in one step: equal to the four steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lab.layers.activation import Activation
from lab.layers.convolution import FrozenBatchNorm2d, convolve, folded, make_norm, pairs_in, scales_of
from lab.ops.choice import Choices
from tests.kernels import take_way

ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6, "leaky_relu": lambda x: F.leaky_relu(x, 0.1)}


def normal(*shape: int) -> Tensor:
    """Return numbers that are the same on every call, up to 8 or so: beyond where ReLU6 cuts."""
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_one_step_equals_four(activation: Activation, bias: bool, added: bool) -> None:
    convolution = nn.Conv2d(4, 6, 3, 2, 1, groups=2, bias=bias)
    norm = nn.BatchNorm2d(6).eval()
    convolution.weight.data.copy_(normal(6, 2, 3, 3))
    for value in (norm.weight, norm.bias, norm.running_mean, convolution.bias):
        if value is not None:
            value.data.copy_(normal(6))
    norm.running_var.copy_(0.5 + normal(6).abs())
    x, add = normal(2, 4, 9, 8), normal(2, 6, 5, 4) if added else None
    plain = norm(convolution(x))
    wanted = ACTIVATIONS[activation](plain if add is None else plain + add).detach()
    gradients = torch.autograd.grad(plain.sum(), convolution.weight)[0]
    with torch.no_grad():
        torch.testing.assert_close(convolve(x, convolution, norm, add, activation), wanted)
    torch.testing.assert_close(convolve(x, convolution, norm, add, activation).detach(), wanted)
    found = torch.autograd.grad(convolve(x, convolution, norm, add, "none").sum(), convolution.weight)[0]
    torch.testing.assert_close(found, gradients)


def test_a_convolution_without_norm_adds_and_activates() -> None:
    convolution, x = nn.Conv2d(4, 4, 1), normal(2, 4, 3, 3)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            found = convolve(x, convolution, add=x, activation="leaky_relu")
        torch.testing.assert_close(found, F.leaky_relu(convolution(x) + x, 0.1))


@pytest.mark.parametrize("side", [1, 9])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_inference_of_few_and_of_many_pixels(activation: Activation, added: bool, kernel: int, side: int) -> None:
    """Where the weight is larger than the output, that is scaled; a 1x1 is a product; norms are taken together."""
    layers = nn.Sequential(
        nn.Conv2d(8, 6, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 1),
        nn.BatchNorm2d(6),
    ).eval()
    for norm in (layers[1], layers[3]):
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.data.copy_(normal(6))
        norm.running_var.copy_(0.5 + normal(6).abs())
    x = normal(1, 16, side, side).contiguous(memory_format=torch.channels_last)[:, 8:]
    add = normal(1, 6, side, side) if added else None
    (first, norm), _ = pairs_in(layers)
    plain = norm(first(x))
    wanted = ACTIVATIONS[activation](plain if add is None else plain + add).detach()
    with torch.inference_mode():
        scales = scales_of([norm, layers[3]])
        assert list(scales) == [norm, layers[3]]
        for given in (None, scales):
            found = convolve(x, first, norm, None if add is None else add.clone(), activation, scales=given)
            torch.testing.assert_close(found, wanted)
    assert scales_of([norm]) == {}  # gradients are wanted
    with torch.no_grad():
        assert scales_of([norm, layers[3].train()]) == {}


def test_norms_that_are_folded_together() -> None:
    layers = nn.Sequential(
        nn.Conv2d(8, 6, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        FrozenBatchNorm2d(6),
    ).eval()
    for norm in (layers[1], layers[3]):
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.data.copy_(normal(6))
        norm.running_var.copy_(0.5 + normal(6).abs())
    pairs = pairs_in(layers)
    for last in (False, True):
        x = normal(2, 8, 5, 7)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        wanted = layers(x)
        assert folded(x, pairs) == {}  # gradients are wanted
        with torch.inference_mode():
            scales = folded(x, pairs)
            assert list(scales) == [layers[0], layers[2]]
            found = x
            for pair in pairs:
                found = convolve(found, *pair, activation="none", scales=scales)
            torch.testing.assert_close(found, wanted)
            assert folded(x.double(), pairs) == {}
            with torch.autocast("cpu"):
                assert folded(x, pairs) == {}
            hook = layers[1].register_forward_hook(lambda *_: None)
            assert folded(x, pairs) == {}  # it must see the convolution's own result
            hook.remove()
    with torch.inference_mode():
        assert folded(x, [(layers[0], layers[1].train())]) == {}


GEOMETRIES = {  # channels in and out, kernel, stride, side: each is sooner computed in another way
    "pixels with a stride": (64, 48, 1, 2, 9),
    "Winograd's": (96, 96, 3, 1, 29),
    "rows of patches": (192, 192, 3, 2, 4),
    "the other layout": (192, 192, 3, 1, 8),
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=list(GEOMETRIES))
def test_inference_of_any_geometry(geometry: tuple[int, int, int, int, int], added: bool, channels_last: bool) -> None:
    channels, width, kernel, stride, side = geometry
    layer, norm = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width).eval()
    layer.weight.data.copy_(normal(*layer.weight.shape) / layer.weight[0].numel() ** 0.5)
    for value in (norm.weight, norm.bias, norm.running_mean):
        value.data.copy_(normal(width))
    norm.running_var.copy_(0.5 + normal(width).abs())
    x = normal(1, channels, side, side)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    with torch.inference_mode():
        plain = norm(F.conv2d(x.double(), layer.weight.double(), None, stride, kernel // 2).float())
        add = torch.ones_like(plain) if added else None
        found = convolve(x, layer, norm, add)
    wanted = F.relu(plain + 1 if added else plain)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 3e-6  # measured 6.7e-7
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_groups_of_a_norm_divide_the_channels() -> None:
    groups = {channels: make_norm("group_norm", channels).num_groups for channels in (16, 24, 58, 64, 116, 176)}
    assert groups == {16: 16, 24: 24, 58: 29, 64: 32, 116: 29, 176: 22}
    assert isinstance(make_norm("frozen_batch_norm", 4), FrozenBatchNorm2d)


def test_fake_tensors_take_the_plain_convolution() -> None:
    with FakeTensorMode(), torch.no_grad():
        convolution, norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4).eval()
        x, add = torch.empty(2, 3, 5, 6), torch.empty(2, 4, 5, 6)
        assert convolve(x, convolution, norm, add).shape == add.shape


@pytest.mark.parametrize("way", ["torch", "other"])
@pytest.mark.parametrize(("side", "choices"), [(2, 0), (6, 1), (12, 1), (40, 0)])
def test_a_norm_is_folded_or_applied(side: int, choices: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of 9 x 8 numbers for each channel out, a map of 4 to 1,600: what is far smaller is scaled unasked."""
    asked: list[str] = []
    taken = take_way(monkeypatch, way)
    choose = Choices.fastest

    def fastest(self: Choices, product: str, *rest: Any) -> str:
        asked.append(product)
        return choose(self, product, *rest)

    monkeypatch.setattr(Choices, "fastest", fastest)
    convolution, norm = nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6).eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        value.data.copy_(normal(6))
    norm.running_var.copy_(0.5 + normal(6).abs())
    x = normal(1, 8, side, side).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wanted = norm(convolution(x))
        for add, then in ((None, F.relu(wanted)), (wanted, F.relu(2 * wanted))):
            torch.testing.assert_close(convolve(x, convolution, norm, add), then)
    about = [name for name in asked if "norm" in name]
    assert len(about) == 2 * choices
    assert {name.rpartition(" ")[2] for name in about} <= ({"apart"} if side < 9 else {"folded"})
    assert not choices or way in taken
