"""Winograd's convolution against the direct one in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops import winograd
from lab.ops.convolution import conv3x3
from tests.kernels import take_way

# Sizes that tiles of four divide and do not; one pixel; channels in and out that differ.
SHAPES = [(1, 128, 128, 32, 32), (3, 96, 100, 17, 30), (2, 100, 96, 5, 1), (7, 96, 96, 9, 11), (1, 96, 97, 1, 1)]


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return take_way(monkeypatch, "winograd")


def tensors(batch: int, num_in: int, num_out: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, num_in, height, width, generator=generator)
    weight = torch.randn(num_out, num_in, 3, 3, generator=generator) / (3 * num_in**0.5)
    bias = torch.randn(num_out, generator=generator)
    return x, weight, bias, torch.randn(batch, num_out, height, width, generator=generator)


def gradients(function: object, *values: Tensor) -> list[Tensor]:
    """Return the output and the gradients of x, weight and bias."""
    *leaves, grad = values
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    out = function(*leaves)  # type: ignore[operator]
    out.backward(grad.to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def direct(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


def worst(ours: list[Tensor], exact: list[Tensor]) -> float:
    assert [value.shape for value in ours] == [value.shape for value in exact]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, exact, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("values", [1 << 12, 1 << 17, 1 << 21], ids=["rows", "images", "whole"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_outputs_and_gradients(
    shape: tuple[int, int, int, int, int],
    values: int,
    channels_last: bool,
    taken: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(winograd, "_VALUES", values)
    monkeypatch.setattr(winograd, "_TILES", 1)
    x, weight, bias, grad = tensors(*shape)
    if channels_last:
        x, grad = (value.to(memory_format=torch.channels_last) for value in (x, grad))
    exact = gradients(direct, *(value.double() for value in (x, weight, bias, grad)))
    assert worst(gradients(conv3x3, x, weight, bias, grad), exact) < 8e-6  # measured 2.6e-6
    assert taken == ["winograd"] * 3


def test_as_exact_as_the_direct_convolution() -> None:
    x, weight, bias, grad = tensors(1, 256, 256, 48, 64)
    exact = gradients(direct, *(value.double() for value in (x, weight, bias, grad)))
    ours, theirs = (worst(gradients(f, x, weight, bias, grad), exact) for f in (conv3x3, direct))
    assert ours < 2 * theirs  # measured 2.1e-6 and 2.0e-6


def test_papers_points_are_less_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias, _ = tensors(1, 256, 64, 32, 32)
    exact = direct(x.double(), weight.double(), bias.double())
    ours = worst([conv3x3(x, weight, bias)], [exact])
    monkeypatch.setattr(winograd, "_POINTS", (0.0, 1.0, -1.0, 2.0, -2.0))
    winograd._transforms.cache_clear()
    papers = worst([conv3x3(x, weight, bias)], [exact])
    winograd._transforms.cache_clear()
    assert 3 * ours < papers < 2e-5
