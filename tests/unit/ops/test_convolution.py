"""Each way to compute a convolution against PyTorch's in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.convolution import convolve
from lab.ops import convolution
from lab.ops.convolution import SAME, Geometry, conv2d, conv3x3
from tests.kernels import take_way

CASES = {
    "3x3": ((2, 32, 13, 18), (40, 32, 3, 3), SAME),
    "3x3 strided": ((2, 32, 13, 18), (40, 32, 3, 3), Geometry((2, 2), (1, 1), (1, 1))),
    "3x3 dilated": ((2, 32, 13, 18), (40, 32, 3, 3), Geometry((1, 1), (2, 2), (2, 2))),
    "1x3": ((2, 32, 13, 18), (40, 32, 1, 3), Geometry((2, 1), (0, 1), (1, 1))),
    "7x7": ((2, 3, 21, 30), (32, 3, 7, 7), Geometry((2, 2), (3, 3), (1, 1))),
    "1x1": ((2, 32, 13, 18), (40, 32, 1, 1), Geometry()),
    "1x1 strided": ((2, 32, 13, 18), (40, 32, 1, 1), Geometry((2, 2), (0, 0), (1, 1))),
    "1x1 padded": ((2, 32, 13, 18), (40, 32, 1, 1), Geometry((1, 1), (1, 1), (1, 1))),
}
WAYS = sorted({*convolution.OUTPUT_WAYS, *convolution.INPUT_WAYS, *convolution.WEIGHT_WAYS})
Function = Callable[[Tensor, Tensor, Tensor, Geometry], Tensor]


def tensors(case: str, last: bool = True) -> tuple[list[Tensor], Tensor, Geometry]:
    """Return x, weight and bias, the gradient of the output, and the geometry."""
    size, kernel, geometry = CASES[case]
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(size, generator=generator).to(memory_format=layout)
    weight = torch.randn(kernel, generator=generator) / weight_scale(kernel)
    bias = torch.randn(kernel[0], generator=generator)
    out = F.conv2d(x, weight, bias, *geometry)
    return [x, weight, bias], torch.randn(out.shape, generator=generator), geometry


def weight_scale(kernel: tuple[int, ...]) -> float:
    return float(kernel[1] * kernel[2] * kernel[3]) ** 0.5


def gradients(function: Function, leaves: list[Tensor], grad: Tensor, geometry: Geometry) -> list[Tensor]:
    """Return the output and the gradients of x, weight and bias."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    out = function(*leaves, geometry)  # type: ignore[call-arg, arg-type]
    out.backward(grad)
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def direct(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry) -> Tensor:
    return F.conv2d(x, weight, bias, *geometry)


def worst(ours: list[Tensor], exact: list[Tensor]) -> float:
    assert [value.shape for value in ours] == [value.shape for value in exact]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, exact, strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
def test_outputs_and_gradients(case: str, way: str, last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take_way(monkeypatch, way)
    leaves, grad, geometry = tensors(case, last)
    exact = gradients(direct, [leaf.double() for leaf in leaves], grad.double(), geometry)
    found = gradients(conv2d, leaves, grad, geometry)
    assert worst(found, exact) < 3e-6  # measured 8.4e-7
    assert len(taken) == 3
    assert [map_.stride(1) == 1 for map_ in found[:2]] == [last, last]  # the output's layout, and the gradient's


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_taken_somewhere(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take_way(monkeypatch, way)
    for case in CASES:
        gradients(conv2d, *tensors(case))
    assert way in taken


@pytest.mark.parametrize("mutant", ["stride", "padding", "dilation"])
def test_mutants_are_seen(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places of the kernel are met at other pixels."""
    take_way(monkeypatch, "taps")
    case = "3x3 dilated" if mutant == "dilation" else "3x3 strided"
    leaves, grad, geometry = tensors(case)
    exact = gradients(direct, leaves, grad, geometry)[2]
    other = geometry._replace(**{mutant: {"stride": (1, 1), "padding": (2, 2), "dilation": (1, 1)}[mutant]})
    ours = convolution._taps_weight(leaves[0], leaves[1], grad, other)
    assert worst([ours], [exact]) > 0.1


def test_the_part_that_is_timed_has_all_that_the_whole_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a map of any height are convolved without an error, and by all the ways."""
    monkeypatch.setattr(convolution, "MIN_PRODUCTS", 1)
    for sample in (1, 1 << 12, 1 << 16, 1 << 30):
        monkeypatch.setattr(convolution, "SAMPLE", sample)
        for case in CASES:
            (x, weight, _), grad, geometry = tensors(case)
            part = convolution._sample(x, weight, geometry)
            given = convolution._sample_gradient(part, grad, weight, geometry)
            assert F.conv2d(part, weight, None, *geometry).shape == given.shape
            assert part.shape == x.shape if sample == 1 << 30 else len(part) <= 2


def test_an_activation_in_place_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    take_way(monkeypatch, "winograd", "mkl")
    for kernel in (1, 3):
        layer = nn.Conv2d(32, 40, kernel, padding=kernel // 2)
        x = torch.randn(2, 32, 9, 9).to(memory_format=torch.channels_last).requires_grad_()
        ours, theirs = convolve(x, layer), layer(x).relu()
        assert worst([ours.detach()], [theirs.detach()]) < 3e-6
        grads = [torch.autograd.grad(out.square().sum(), [x, *layer.parameters()]) for out in (ours, theirs)]
        assert worst(list(grads[0]), list(grads[1])) < 3e-6


def test_frozen_and_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take_way(monkeypatch, "winograd")
    (x, weight, bias), grad, _ = tensors("3x3")
    x.requires_grad_()
    conv3x3(x, weight, bias).backward(grad)  # only x wants a gradient
    assert x.grad is not None
    assert taken == ["winograd", "winograd"]
    with torch.inference_mode():
        assert worst([conv3x3(x, weight, bias)], [direct(x, weight, bias, SAME)]) < 8e-6
    assert conv3x3(x, nn.Parameter(weight)).requires_grad


def test_gradients_of_gradients_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    take_way(monkeypatch, "winograd")
    (x, weight, bias), _, _ = tensors("3x3")
    weight.requires_grad_()
    second = []
    for function in (conv2d, direct):
        leaf = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(function(leaf, weight, bias, SAME).square().sum(), leaf, create_graph=True)
        second.append(torch.autograd.grad(grad.square().sum(), weight)[0])
    assert worst(second[:1], second[1:]) < 1e-5  # measured 1.6e-6


@pytest.mark.parametrize("case", ["half", "double", "groups", "meta", "autocast", "vmap", "small"])
def test_what_others_do_better_is_left_to_them(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take_way(monkeypatch, "winograd", small=case != "small")
    (x, weight, bias), _, _ = tensors("3x3")
    if case in ("half", "double"):
        dtype = torch.bfloat16 if case == "half" else torch.float64
        x, weight, bias = (value.to(dtype) for value in (x, weight, bias))
    elif case == "meta":
        x, weight, bias = (value.to("meta") for value in (x, weight, bias))
    if case == "vmap":
        out = torch.vmap(conv3x3, (0, None, None))(x[:, None], weight, bias)[:, 0]
    elif case == "groups":
        out = convolve(x, nn.Conv2d(32, 40, 3, padding=1, groups=4))
    else:
        with torch.autocast("cpu", enabled=case == "autocast"):
            out = conv3x3(x, weight, bias)
    assert out.shape == (2, 40, 13, 18)
    assert taken == []
