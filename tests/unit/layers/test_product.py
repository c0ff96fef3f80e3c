"""The product of pixels with a matrix is the same by oneDNN and by MKL, packed or not, whatever follows it."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.compat.torch import has_onednn_linear, onednn_packed_linear
from lab.layers.activation import SLOPE, Activation
from lab.layers.convolution import convolve
from lab.layers.linear import Linear
from lab.layers.packed import PackedConv2d, PackedLinear
from lab.layers.product import Gelu, product
from tests.kernels import take_way

needs_onednn = pytest.mark.skipif(not has_onednn_linear(), reason="this build of torch has no oneDNN")
THEN: dict[str, Any] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, SLOPE),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@needs_onednn
@pytest.mark.parametrize("way", ["torch", "onednn"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("activation", [*get_args(Activation), *get_args(Gelu)])
def test_each_way_computes_the_same(
    way: str, packed: bool, with_bias: bool, activation: Activation | Gelu, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = take_way(monkeypatch, way)
    matrix, bias = normal(24, 40), normal(24) if with_bias else None
    held = onednn_packed_linear(matrix) if packed else None
    with torch.no_grad():
        # Pixels of a window are no rows that a view could be.
        for rows in (normal(50, 40), normal(2, 5, 7, 40), normal(2, 9, 9, 56)[:, 1:8, ::2, 8:48]):
            wanted = THEN[activation](F.linear(rows, matrix, bias))
            found = product(rows, matrix, bias, activation, held)
            torch.testing.assert_close(found, wanted)
            torch.testing.assert_close(product(rows, matrix[:, :, None, None], bias, activation, held), wanted)
    assert taken == 6 * [way]


def test_small_products_have_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take_way(monkeypatch, "onednn", small=False)
    rows, matrix = normal(3, 8), normal(4, 8)
    with torch.no_grad():
        torch.testing.assert_close(product(rows, matrix, None), rows @ matrix.t())
    assert taken == []


@needs_onednn
def test_packed_layers_take_the_fastest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take_way(monkeypatch, "onednn", small=False)
    plain = nn.Conv2d(40, 24, 1, 2)
    packed = PackedConv2d.take(copy.deepcopy(plain))
    x = normal(2, 40, 9, 9).contiguous(memory_format=torch.channels_last)
    line = Linear(512, 300)
    with torch.no_grad():
        torch.testing.assert_close(convolve(x, packed, activation="relu"), plain(x).relu())
        assert taken == ["onednn"]
        wanted = F.linear(normal(64, 512), line.weight, line.bias)
        held = PackedLinear.take(copy.deepcopy(line))
        taken.clear()
        torch.testing.assert_close(held(normal(64, 512)), wanted)
        torch.testing.assert_close(held.relu(normal(64, 512)), wanted.relu())
        torch.testing.assert_close(held.gelu(normal(64, 512), "tanh"), F.gelu(wanted, approximate="tanh"))
    assert taken == 3 * ["onednn"]
