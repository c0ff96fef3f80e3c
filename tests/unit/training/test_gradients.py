"""The gradients' norm against torch's, and optimizers that are left nothing to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lab.layers.row_table import RowTable
from lab.training.gradients import drop_gradients, gradient_norm
from lab.training.optimizers import make_optimizer

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8},
    "sgd": {"momentum": 0.9, "nesterov": False},
    "adagrad": {"momentum": 0.5, "eps": 1e-6},
}


def made(name: str, private: bool = False) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(RowTable(5, 3), nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    settings = {"name": name, "lr": 0.1, "weight_decay": 0.1, "no_decay_norm_bias": False, "groups": []}
    return net, make_optimizer(net, settings | SETTINGS[name], private)


def backward(net: nn.Module) -> None:
    net(torch.tensor([1, 3])).square().sum().backward()


@pytest.mark.parametrize("name", SETTINGS)
def test_norm_is_that_of_torch(name: str) -> None:
    net, optimizer = made(name)
    assert gradient_norm(optimizer) == 0
    backward(net)
    expected = torch.nn.utils.clip_grad_norm_(net.parameters(), 1e9)
    assert float(gradient_norm(optimizer)) == pytest.approx(float(expected), rel=1e-6)


def test_ranks_with_the_same_gradients_count_each_its_share() -> None:
    net, optimizer = made("adamw")
    backward(net)
    whole, share = gradient_norm(optimizer), gradient_norm(optimizer, world_size=4)
    assert float(4 * share.square()) == pytest.approx(float(whole.square()), rel=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_norm_is_not_finite(value: float) -> None:
    net, optimizer = made("adamw")
    backward(net)
    net[1].bias.grad[2] = value  # type: ignore[union-attr, index]
    assert not gradient_norm(optimizer).isfinite()


def test_rows_count_wherever_they_are_handed_over() -> None:
    net, optimizer = made("adagrad", private=True)
    table: Any = net[0].weight
    rows = net[0].rows
    rows.touched = torch.tensor([1, 3])
    rows.gradients = [(rows.touched, torch.full((2, 3), 2.0))]
    assert float(gradient_norm(optimizer)) == pytest.approx(24**0.5)
    rows.forget()
    table.grad = torch.full((5, 3), float("nan")).index_fill_(0, rows.touched, 1.0)  # stale rows that nobody reads
    assert float(gradient_norm(optimizer)) == pytest.approx(6**0.5)
    table.grad[3, 0] = float("nan")
    assert not gradient_norm(optimizer).isfinite()


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("rows", [False, True])
def test_a_step_without_gradients_changes_nothing(name: str, rows: bool) -> None:
    net, optimizer = made(name, private=rows)
    backward(net)
    optimizer.step()
    optimizer.zero_grad()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    states = {key: value.clone() for part in optimizer.state.values() for key, value in part.items() if value.ndim}
    backward(net)
    if rows and name == "adagrad":
        table: Any = net[0]
        table.rows.touched, table.weight.grad = torch.tensor([1]), None
        table.rows.gradients = [(table.rows.touched, torch.full((1, 3), float("nan")))]
    drop_gradients(optimizer)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    after = {key: value for part in optimizer.state.values() for key, value in part.items() if value.ndim}
    assert all(torch.equal(states[key], after[key]) for key in states)
