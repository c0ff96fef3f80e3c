"""A batch norm is folded exactly where its layer's result goes nowhere else, whatever the names are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from lab.layers.convolution import FrozenBatchNorm2d, convolve
from lab.layers.folding import fold_norms, tensors_in


def filled(net: nn.Module) -> nn.Module:
    """Return the network in evaluation mode, its norms far from the identity, with scales of both signs."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.ndim == 1 and value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(0.5 + noise if name.endswith("running_var") else 2 * noise - 1)
    return net.eval()


class Net(nn.Module):
    """A convolution, a norm and something else, put together by a subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(6)  # before its convolution in the order of names
        self.other = nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.calls = 0


class Taken(Net):
    """Both norms follow a convolution: one by modules, one as a network of lab does it."""

    def __init__(self) -> None:
        super().__init__()
        self.next = nn.Conv2d(6, 6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(F.relu(self.bn(self.conv(x))), self.next, self.other)


class Returned(Net):
    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv(x)
        return [y, self.bn(y)]


class Added(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.bn(y) + y


class TwoNorms(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.bn(y) * self.other(y)


class TwoLayers(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)) + self.bn(self.conv(x).sin())


class Before(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.bn(F.relu(self.conv(x)))


class Changed(Net):
    """The norm gets the very tensor that the layer returned, but not its values."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y.mul_(2)
        return self.bn(y)


class Again(Net):
    """Once with its norm, once without."""

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)) + self.conv(2 * x)


class Shared(Net):
    """Both are called twice, always together: one fold serves both."""

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)) * self.bn(self.conv(x.flip(0)))


def fold_and_compare(net: nn.Module, x: Tensor) -> tuple[dict[str, str], dict[str, str]]:
    with torch.no_grad():
        wanted = list(tensors_in(net(x)))
        found = fold_norms(net, (x,))
        for one, other in zip(tensors_in(net(x)), wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)  # worst measured 4.8e-7
    return found


IMAGES = torch.randn(2, 4, 7, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("net", "folded", "reason"),
    [
        (Taken, {"bn": "conv", "other": "next"}, ""),
        (Shared, {"bn": "conv"}, ""),
        (Returned, {}, "something else takes"),
        (Added, {}, "something else takes"),
        (TwoNorms, {}, "something else takes"),
        (Changed, {}, "something else takes"),
        (Again, {}, "something else takes"),
        (TwoLayers, {}, "no layer of its own"),
        (Before, {}, "no layer of its own"),
    ],
)
def test_what_is_folded(net: type[Net], folded: dict[str, str], reason: str) -> None:
    made = filled(net())
    found, left = fold_and_compare(made, IMAGES)
    assert found == folded
    for name in folded:
        assert isinstance(made.get_submodule(name), nn.Identity)
    if reason:
        assert left["bn"].startswith(reason)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in made.modules())


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Linear(4, 6), nn.BatchNorm1d(6)), (5, 4)),
        ((nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6, affine=False)), (5, 4)),
        ((nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (2, 4, 9)),
        ((nn.Conv3d(4, 6, 2, bias=False), nn.BatchNorm3d(6, affine=False)), (2, 4, 3, 4, 5)),
        ((nn.ConvTranspose2d(4, 6, 3, 2), nn.BatchNorm2d(6)), (2, 4, 5, 6)),
        ((nn.Conv2d(4, 6, 1), FrozenBatchNorm2d(6)), (2, 4, 5, 6)),
        ((nn.Conv2d(4, 6, 1, padding_mode="reflect"), nn.SyncBatchNorm(6)), (2, 4, 5, 6)),
    ],
)
def test_kinds_of_layers(layers: tuple[nn.Module, ...], shape: tuple[int, ...]) -> None:
    assert fold_and_compare(filled(nn.Sequential(*layers)), torch.randn(shape)) == ({"1": "0"}, {})


class MoreThanANorm(nn.BatchNorm2d):
    """As timm's: with an activation."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


@pytest.mark.parametrize(
    ("layers", "shape", "reason"),
    [
        ((nn.Conv2d(4, 6, 1), MoreThanANorm(6)), (2, 4, 5, 6), "a MoreThanANorm may do more"),
        ((nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, track_running_stats=False)), (2, 4, 5, 6), "depends on the batch"),
        ((nn.Linear(4, 6), nn.BatchNorm1d(3)), (2, 3, 4), "normalises another dimension"),
        ((nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (2, 4, 5, 6), "its transposed convolution"),
        ((parametrizations.weight_norm(nn.Conv2d(4, 6, 1)), nn.BatchNorm2d(6)), (2, 4, 5, 6), "no layer of its own"),
    ],
)
def test_what_is_left_and_why(layers: tuple[nn.Module, ...], shape: tuple[int, ...], reason: str) -> None:
    found, left = fold_and_compare(filled(nn.Sequential(*layers)), torch.randn(shape))
    assert not found
    assert left["1"].startswith(reason)


def test_what_a_hook_waits_for_stays() -> None:
    net = filled(nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)))
    seen: list[Any] = []
    handle = net[0].register_forward_hook(lambda module, args, output: seen.append(output))  # type: ignore[operator]
    assert fold_norms(net, (IMAGES,)) == ({}, {"1": "a hook waits for it or for its layer"})
    handle.remove()
    assert fold_norms(net, (IMAGES,)) == ({"1": "0"}, {})


def test_a_norm_that_is_not_called_is_left() -> None:
    assert fold_norms(filled(Added()), (IMAGES,))[1]["other"] == "not called"
