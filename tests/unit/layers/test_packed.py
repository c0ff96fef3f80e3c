"""A packed layer computes what the plain one does, follows its weight, and falls back where oneDNN does not serve."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.convolution import convolve
from lab.layers.linear import Linear
from lab.layers.packed import PackedConv2d, PackedLinear
from tests.kernels import take_way


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "plain",
    [
        nn.Conv2d(8, 6, 1),
        nn.Conv2d(8, 6, 1, 2, bias=False),
        nn.Conv2d(8, 6, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 6, 3, dilation=2),
        nn.Conv2d(8, 6, 3, padding="same"),
        nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
    ],
    ids=str,
)
def test_a_packed_convolution(plain: nn.Conv2d, layout: str) -> None:
    packed = PackedConv2d.take(copy.deepcopy(plain))
    assert (packed.packed is None) == (plain.padding_mode != "zeros" or plain.padding == "same")
    with torch.no_grad():
        for batch, side in ((1, 9), (3, 12)):
            x = normal(batch, 8, side, side).contiguous(memory_format=LAYOUTS[layout])
            wanted = plain(x)
            torch.testing.assert_close(packed(x), wanted)
            if packed.packed is None:
                continue
            torch.testing.assert_close(convolve(x, packed, activation="relu6"), F.relu6(wanted))
            add = torch.ones_like(wanted)
            for activation, then in (("relu", F.relu), ("leaky_relu", lambda y: F.leaky_relu(y, 0.1))):
                found = convolve(x, packed, add=add.clone(), activation=activation, reuse=True)  # type: ignore[arg-type]
                torch.testing.assert_close(found, then(wanted + add))


@pytest.mark.parametrize("way", ["torch", "winograd"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_3x3_takes_the_fastest_way(way: str, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take_way(monkeypatch, way)
    plain = nn.Conv2d(40, 33, 3, padding=1, bias=bias)
    packed = PackedConv2d.take(copy.deepcopy(plain))
    x = normal(2, 40, 9, 11).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        wanted = plain(x)
        for activation, then in (
            ("none", lambda y: y),
            ("relu", F.relu),
            ("leaky_relu", lambda y: F.leaky_relu(y, 0.1)),
        ):
            found = convolve(x, packed, activation=activation)  # type: ignore[arg-type]
            torch.testing.assert_close(found, then(wanted))
            assert found.is_contiguous(memory_format=torch.channels_last)
            found = convolve(x, packed, add=torch.ones_like(wanted), activation=activation)  # type: ignore[arg-type]
            torch.testing.assert_close(found, then(wanted + 1))
        assert taken == 6 * [way]
        torch.testing.assert_close(packed(x.contiguous()), wanted)  # whose channels are first
        assert taken == 6 * [way]


@pytest.mark.parametrize("rows", [1, 700])  # few are done by torch's own call
def test_a_packed_linear(rows: int) -> None:
    plain = Linear(32, 16)
    packed = PackedLinear.take(copy.deepcopy(plain))
    x = normal(2, rows, 32)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), plain(x))
        for form in ("none", "tanh"):
            torch.testing.assert_close(packed.gelu(x, form), F.gelu(plain(x), approximate=form))
        torch.testing.assert_close(packed.relu(x), F.relu(plain(x)))


def test_it_follows_its_weight() -> None:
    packed = PackedConv2d.take(nn.Conv2d(4, 4, 1))
    other, x = nn.Conv2d(4, 4, 1), normal(1, 4, 5, 5)
    with torch.no_grad():
        packed.load_state_dict(other.state_dict())
        torch.testing.assert_close(packed(x), other(x))
        for copied in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
            assert copied.packed is not None
            torch.testing.assert_close(copied(x), other(x))
        torch.testing.assert_close(packed.double()(x.double()), other.double()(x.double()))
        assert packed.packed is None


def test_a_gradient_passes() -> None:
    packed = PackedConv2d.take(nn.Conv2d(4, 4, 3).requires_grad_(False))
    x = normal(1, 4, 5, 5).requires_grad_()
    (found,) = torch.autograd.grad(packed(x).sum(), x)
    (wanted,) = torch.autograd.grad(F.conv2d(x, packed.weight, packed.bias).sum(), x)
    torch.testing.assert_close(found, wanted)
