"""BERT's optimizer and schedule against steps written out in float64, and the numbers of Google's code by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lab import create_model
from lab.checkpoint.access import CheckpointReader, StateAccess
from lab.checkpoint.writer import write_checkpoint
from lab.training.bert_adam import BertAdam
from lab.training.optimizers import make_optimizer
from lab.training.schedules import make_schedule

SETTINGS: dict[str, Any] = {
    "name": "bert",
    "lr": 0.1,
    "weight_decay": 0.01,
    "betas": [0.9, 0.99],
    "eps": 1e-6,
    "no_decay_norm_bias": True,
    "groups": [],
}


def test_steps_by_hand() -> None:
    """optimization.py: next_m, next_v, update = m / (sqrt(v) + eps), + decay * param, param -= rate * update."""
    torch.manual_seed(0)  # a weight that comes near 0 has a larger relative error
    net = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).double()
    optimizer = make_optimizer(net, SETTINGS)
    assert type(optimizer) is BertAdam
    decays = {"0.weight": 0.01, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}
    expected = {name: value.detach().numpy().copy() for name, value in net.named_parameters()}
    means = {name: np.zeros_like(value) for name, value in expected.items()}
    squares = {name: np.zeros_like(value) for name, value in expected.items()}
    for step in range(4):
        for name, value in net.named_parameters():
            value.grad = torch.sin(torch.arange(value.numel(), dtype=torch.float64) + step).view_as(value)
            grad = value.grad.numpy()
            means[name] = 0.9 * means[name] + 0.1 * grad
            squares[name] = 0.99 * squares[name] + 0.01 * grad**2
            update = means[name] / (np.sqrt(squares[name]) + 1e-6) + decays[name] * expected[name]
            expected[name] = expected[name] - 0.1 * update
        optimizer.step()
    for name, value in net.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), expected[name], rtol=1e-13)


def test_the_first_step_is_not_corrected() -> None:
    """m / sqrt(v) is 0.1 g / (sqrt(0.001) |g|) = 3.16 after one step; AdamW's is 1."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = BertAdam([weight], lr=1.0, weight_decay=0.0, eps=0.0)
    weight.grad = torch.full((1,), 5.0, dtype=torch.float64)
    optimizer.step()
    assert float(weight.detach()) == pytest.approx(-(10**0.5), rel=1e-12)
    before = weight.detach().clone()
    weight.grad = None
    optimizer.step()  # without a gradient nothing moves
    assert torch.equal(weight.detach(), before)


def test_the_schedule_jumps_where_the_warm_up_ends() -> None:
    """optimization.py with 10 of 100 steps: 0, 0.1, ..., 0.9, then 1 - 10 / 100."""
    schedule = make_schedule({"name": "bert", "warmup_steps": 10, "jump": True}, 100)
    assert [schedule(step) for step in (0, 1, 9)] == pytest.approx([0.0, 0.1, 0.9])
    assert [schedule(step) for step in (10, 55, 99, 100, 101)] == pytest.approx([0.9, 0.45, 0.01, 0.0, 0.0])


def test_without_the_jump_it_is_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    schedule = make_schedule({"name": "bert", "warmup_steps": 7, "jump": False}, 40)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = transformers.get_linear_schedule_with_warmup(optimizer, 7, 40)
    for step in range(41):
        assert schedule(step) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    whole = make_schedule({"name": "bert", "warmup_steps": 0, "jump": True}, 4)
    assert [whole(step) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("name", ["bert", "lamb"])
def test_a_run_that_is_resumed_makes_the_same_steps(name: str, tmp_path: Path) -> None:
    """The state is written and read as that of other optimizers, with rates that fall along the layers."""
    settings = {**SETTINGS, "name": name, "layer_decay": 0.5, "adapt_all": True}
    words = torch.arange(12).view(2, 6)

    def step(net: Any, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(words).last_hidden_state.square().sum().backward()
        optimizer.step()

    def make() -> tuple[Any, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net: Any = create_model("bert_tiny", vocab_size=13, embed_dim=8, feedforward_dim=8, max_length=6, dropout=0.0)
        net.eval()
        return net, make_optimizer(net, settings)

    net, optimizer = make()
    assert len({group["lr"] for group in optimizer.param_groups}) == 4  # embeddings, two blocks, head
    for _ in range(2):
        step(net, optimizer)
    access = StateAccess()
    pieces = access.pieces(net, optimizer)
    other, resumed = make()
    write_checkpoint(tmp_path / "last.ckpt", pieces, {}, 2)
    access.restore(CheckpointReader(tmp_path / "last.ckpt"), other, resumed)
    step(net, optimizer)
    step(other, resumed)
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
