"""What is remembered of a deployed network's weights is asked for anew once it no longer holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lab.layers.convolution import pairs_in
from lab.layers.remembered import Remembered

X = torch.zeros(1, 3, 8, 8)


def layers(norm: type[nn.Module] = nn.Identity) -> nn.Sequential:
    make = {nn.Identity: nn.Identity, nn.BatchNorm2d: lambda: nn.BatchNorm2d(4)}[norm]
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=norm is nn.Identity), make()).eval().requires_grad_(False)


def remembering(net: nn.Sequential) -> tuple[Remembered, list[int]]:
    asked: list[int] = []

    def pairs() -> list[tuple[nn.Conv2d, nn.Module]]:
        asked.append(1)
        return pairs_in(net)

    return Remembered(net, pairs), asked


def weights(scales: Remembered) -> list[Tensor]:
    with torch.inference_mode():
        return [weight for weight, _ in scales(X).values()]


def test_a_deployed_network_is_asked_once() -> None:
    net = layers()
    scales, asked = remembering(net)
    assert all(found[0] is net[0].weight for found in (weights(scales), weights(scales)))
    assert len(asked) == 1
    net[0].weight.mul_(2)  # the same tensor
    assert weights(scales)[0] is net[0].weight
    assert len(asked) == 1


@pytest.mark.parametrize("change", ["weight", "layer", "norm"])
def test_changes_are_seen(change: str) -> None:
    net = layers()
    scales, asked = remembering(net)
    weights(scales)
    if change == "weight":
        net[0].weight = nn.Parameter(torch.ones(4, 3, 1, 1), requires_grad=False)
    elif change == "layer":
        net[0] = nn.Conv2d(3, 4, 1).requires_grad_(False)
    else:
        net[1] = nn.Identity()
    assert weights(scales)[0] is net[0].weight
    assert len(asked) == 2


@pytest.mark.parametrize("place", [0, 1])
def test_a_hook_ends_it_and_its_end_renews_it(place: int) -> None:
    net = layers()
    scales, _ = remembering(net)
    assert weights(scales)
    handle = net[place].register_forward_hook(lambda *_: None)
    assert not weights(scales)
    handle.remove()
    assert weights(scales)


def test_norms_and_gradients_are_not_remembered() -> None:
    scales, asked = remembering(layers(nn.BatchNorm2d))
    assert weights(scales)
    assert weights(scales)
    assert len(asked) == 2
    assert not scales(X)  # gradients are enabled
