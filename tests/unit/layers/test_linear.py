"""The linear layer in inference against PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.linear import Linear


def test_inference_equals_pytorch() -> None:
    torch.manual_seed(0)
    for layer in (Linear(48, 40), Linear(48, 40, bias=False)):
        x = torch.randn(3, 7, 48)
        plain = F.linear(x, layer.weight, layer.bias)
        with torch.inference_mode():
            assert layer._can_fuse(x)
            torch.testing.assert_close(layer(x), plain, rtol=0, atol=1e-6)  # measured 4.8e-7
            torch.testing.assert_close(layer.gelu(x), F.gelu(plain), rtol=0, atol=1e-6)  # measured 4.2e-7
            assert layer(x[:0]).shape == (0, 7, 40)
            torch.testing.assert_close(layer(x.transpose(0, 1)), plain.transpose(0, 1), rtol=0, atol=1e-6)


def test_gradients_and_other_dtypes_take_pytorchs_own() -> None:
    layer = Linear(8, 8)
    x = torch.randn(2, 8, requires_grad=True)
    layer.gelu(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer.double()(x.double()).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert Linear(8, 8)(x).dtype == torch.bfloat16
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
