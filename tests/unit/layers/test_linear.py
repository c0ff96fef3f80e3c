"""The linear layer in inference against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers import linear
from lab.layers.linear import Linear, _takes, few_rows
from tests.kernels import take_way


@pytest.fixture(autouse=True, params=["torch", "onednn", "turned"])
def taken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each way, also for small products; ``turned`` is one to the gradient of the weight alone."""
    return take_way(monkeypatch, request.param)


def test_inference_equals_pytorch() -> None:
    torch.manual_seed(0)
    for layer in (Linear(48, 40), Linear(48, 40, bias=False)):
        x = torch.randn(3, 7, 48)
        plain = F.linear(x, layer.weight, layer.bias)
        with torch.inference_mode():
            assert _takes(x, layer.weight)
            torch.testing.assert_close(layer(x), plain, rtol=0, atol=1e-6)  # measured 4.8e-7
            for form in ("none", "tanh"):  # measured 4.2e-7
                torch.testing.assert_close(layer.gelu(x, form), F.gelu(plain, approximate=form), rtol=0, atol=1e-6)
            assert layer(x[:0]).shape == (0, 7, 40)
            torch.testing.assert_close(layer(x.transpose(0, 1)), plain.transpose(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(48,), (5, 48), (3, 7, 48)])
def test_gradients_equal_pytorchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = Linear(48, 40), torch.randn(shape, requires_grad=True)
    leaves = (x, layer.weight, layer.bias)
    grads = [
        torch.autograd.grad((out * out).sum(), leaves) for out in (layer(x), F.linear(x, layer.weight, layer.bias))
    ]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # measured 3.8e-6
    once = [
        torch.autograd.grad(out.square().sum(), x, create_graph=True)[0] for out in (layer(x), F.linear(x, *leaves[1:]))
    ]
    twice = [torch.autograd.grad(grad.square().sum(), leaves[1:]) for grad in once]
    for ours, theirs in zip(*twice, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    layer.requires_grad_(False)
    (only,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(only, layer.weight.sum(0).expand(shape))


def test_other_dtypes_take_pytorchs_own() -> None:
    layer, x = Linear(8, 8), torch.randn(2, 8)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        assert layer.double()(x.double()).dtype == torch.float64
    assert nn.Module.to(layer, "meta")(torch.empty(2, 8, device="meta", dtype=torch.float64)).shape == (2, 8)


def test_hooks_see_the_linear_part() -> None:
    layer, seen = Linear(8, 8), []

    def keep(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append(out)

    layer.register_forward_hook(keep)
    x = torch.randn(2, 8)
    with torch.inference_mode():
        out = layer.gelu(x)
    torch.testing.assert_close(out, F.gelu(seen[0]))


@pytest.mark.parametrize("inputs", [512, 1024, 2048])
@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_a_few_rows_equal_pytorch(inputs: int, rows: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One product for each way that they are computed: factors exchanged, oneDNN, PyTorch."""
    monkeypatch.setattr(linear, "_MIN_PRODUCTS", 1 << 22)
    torch.manual_seed(0)
    layer, x = Linear(inputs, 160, bias=bias), torch.randn(rows, 1, inputs)
    with torch.no_grad():
        assert few_rows(x, layer.weight, layer.bias) == rows
        found = layer(x)
        assert found.is_contiguous()
        torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias), rtol=0, atol=3e-6)  # measured 1.2e-6
        assert not few_rows(torch.randn(9, inputs), layer.weight, layer.bias)
    assert not few_rows(x, layer.weight, layer.bias)  # a gradient is wanted
