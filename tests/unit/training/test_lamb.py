"""LAMB against steps written out in float64 by the paper's algorithm 2; ``tests/dist/test_fsdp.py`` splits it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lab.training.lamb import Lamb
from lab.training.optimizers import make_optimizer

SETTINGS: dict[str, Any] = {
    "name": "lamb",
    "lr": 0.1,
    "weight_decay": 0.01,
    "betas": [0.9, 0.99],
    "eps": 1e-6,
    "adapt_all": True,
    "no_decay_norm_bias": True,
    "groups": [],
}
DECAYS = {"0.weight": 0.01, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}
STEPS = 4


def make() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5)).double()
    for name, value in net.named_parameters():
        noise = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * 1.7 + len(name))
        value.data.copy_(noise.view_as(value) * (0 if name == "1.bias" else 1))  # one whose norm is 0
    return net


def gradient(value: torch.Tensor, step: int) -> torch.Tensor:
    found = torch.sin(torch.arange(value.numel(), dtype=torch.float64) + step).view(value.shape)
    return found * (step != 2)  # one step without


def by_hand(adapt_all: bool) -> dict[str, Any]:
    """m, v, both divided by 1 - beta^t, r = m / (sqrt(v) + eps), x -= lr |x| / |r + decay x| (r + decay x)."""
    values = {name: value.detach().numpy().copy() for name, value in make().named_parameters()}
    for name, value in values.items():
        mean, square = np.zeros_like(value), np.zeros_like(value)
        for step in range(STEPS):
            grad = gradient(torch.from_numpy(value), step).numpy()
            mean, square = 0.9 * mean + 0.1 * grad, 0.99 * square + 0.01 * grad**2
            count = step + 1
            update = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.99**count)) + 1e-6) + DECAYS[name] * value
            norms = np.linalg.norm(value), np.linalg.norm(update)
            ratio = norms[0] / norms[1] if min(norms) > 0 and (adapt_all or DECAYS[name]) else 1.0
            value = value - 0.1 * ratio * update
        values[name] = value
    return values


def trained(net: nn.Module, adapt_all: bool) -> Lamb:
    optimizer = make_optimizer(net, {**SETTINGS, "adapt_all": adapt_all})
    assert isinstance(optimizer, Lamb)
    for step in range(STEPS):
        for value in net.parameters():
            value.grad = gradient(value, step)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("adapt_all", [True, False])
def test_steps_by_hand(adapt_all: bool) -> None:
    net, expected = make(), by_hand(adapt_all)
    optimizer = trained(net, adapt_all)
    for name, value in net.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), expected[name], rtol=1e-12)
        assert set(optimizer.state[value]) == {"exp_avg", "exp_avg_sq", "step"}
        assert float(optimizer.state[value]["step"]) == STEPS
