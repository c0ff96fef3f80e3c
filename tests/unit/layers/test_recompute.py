"""Activation checkpointing: the same numbers and random draws, and a batch norm counts a batch once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lab.layers.recompute import recomputed, recomputes


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 2))


def step(net: nn.Sequential, again: bool) -> tuple[Tensor, dict[str, Tensor]]:
    x = torch.linspace(-1, 2, 12).view(4, 3).requires_grad_()
    torch.manual_seed(1)
    out = recomputed(net, net, x) if again else net(x)
    out.square().sum().backward()
    assert x.grad is not None
    gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
    return out.detach(), {"x": x.grad, **gradients, **dict(net.named_buffers())}


def test_a_step_gives_the_same_numbers() -> None:
    plain, other = network(), network()
    (expected, all_expected), (found, all_found) = step(plain, False), step(other, True)
    assert torch.equal(found, expected)
    assert all_found.keys() == all_expected.keys()
    for name, value in all_expected.items():
        assert torch.equal(all_found[name], value), name
    assert int(other[1].num_batches_tracked) == 1


def test_torchs_own_counts_a_batch_twice() -> None:
    net = network()
    x = torch.ones(4, 3, requires_grad=True)
    torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False).sum().backward()
    assert int(net[1].num_batches_tracked) == 2


def test_buffers_are_the_same_tensors_after_an_error() -> None:
    net = network()
    before, values = dict(net.named_buffers()), copy.deepcopy(net.state_dict())
    calls = 0

    def fails(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        out: Tensor = net[1](net[0](x))
        if calls == 2:  # earlier than where torch stops to recompute
            raise RuntimeError("the second time")
        return net[2:](out)

    out = recomputed(net, fails, torch.ones(4, 3, requires_grad=True))
    counted = int(net[1].num_batches_tracked)
    with pytest.raises(RuntimeError, match="the second time"):
        out.sum().backward()
    assert all(found is before[name] for name, found in net.named_buffers())
    assert (int(values["1.num_batches_tracked"]), counted, int(net[1].num_batches_tracked)) == (0, 1, 1)


def test_nothing_is_recomputed_without_a_gradient() -> None:
    x = torch.ones(2)
    assert not recomputes(x)
    x.requires_grad_()
    assert recomputes(x)
    with torch.no_grad():
        assert not recomputes(x)
