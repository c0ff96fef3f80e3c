"""Parameter groups by hand, schedules against torch's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as torch_schedules

from lab.errors import ConfigError
from lab.layers.row_table import RowTable, TableRows
from lab.training import optimizers
from lab.training.optimizers import make_optimizer, parameter_groups
from lab.training.row_adagrad import Adagrad
from lab.training.schedules import learning_rates, make_schedule, warmup_note

STEPS = 40
PEAK = 0.3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.norm = nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.frozen = nn.Linear(2, 2)
        self.frozen.requires_grad_(False)


def settings(**changes: Any) -> dict[str, Any]:
    return {"name": "sgd", "lr": 0.1, "weight_decay": 0.01, "no_decay_norm_bias": True, "groups": []} | changes


def names(net: nn.Module, groups: list[dict[str, Any]]) -> dict[tuple[float, float], set[str]]:
    by_id = {id(parameter): name for name, parameter in net.named_parameters()}
    return {(group["lr"], group["weight_decay"]): {by_id[id(p)] for p in group["params"]} for group in groups}


def test_norms_and_biases_are_not_decayed() -> None:
    net = Net()
    assert names(net, parameter_groups(net, settings())) == {
        (0.1, 0.01): {"backbone.0.weight", "attention.in_proj_weight", "attention.out_proj.weight"},
        (0.1, 0.0): {
            "backbone.0.bias",
            "backbone.1.weight",
            "backbone.1.bias",
            "norm.weight",
            "norm.bias",
            "attention.in_proj_bias",
            "attention.out_proj.bias",
        },
    }


def test_first_matching_pattern_wins_and_keeps_what_it_leaves_out() -> None:
    net = Net()
    groups = [{"pattern": r"^backbone\.0", "lr": 0.001}, {"pattern": "backbone|norm", "lr": None, "weight_decay": 0.5}]
    found = names(net, parameter_groups(net, settings(no_decay_norm_bias=False, groups=groups)))
    assert found == {
        (0.001, 0.01): {"backbone.0.weight", "backbone.0.bias"},
        (0.1, 0.5): {"backbone.1.weight", "backbone.1.bias", "norm.weight", "norm.bias"},
        (0.1, 0.01): {name for name, _ in net.named_parameters() if name.startswith("attention")},
    }


@pytest.mark.parametrize(("pattern", "problem"), [("bckbone", "no parameter has such a name"), ("(", "expression")])
def test_pattern_that_cannot_be_meant_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as error:
        parameter_groups(Net(), settings(groups=[{"pattern": pattern, "lr": 1.0}]))
    assert pattern in str(error.value)
    assert "optimizer.groups" in str(error.value)


def torch_rates(make: Any) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


SCHEDULES = {
    "constant": ({}, lambda o, n: torch_schedules.ConstantLR(o, 1.0)),
    "cosine": ({"min_factor": 0.1}, lambda o, n: torch_schedules.CosineAnnealingLR(o, n, eta_min=0.1 * PEAK)),
    "poly": ({"power": 0.9, "min_factor": 0.0}, lambda o, n: torch_schedules.PolynomialLR(o, n, power=0.9)),
    "step": ({"step_size": 7, "gamma": 0.5}, lambda o, n: torch_schedules.StepLR(o, 7, gamma=0.5)),
    "multistep": (
        {"milestones": [30, 9], "gamma": 0.2},
        lambda o, n: torch_schedules.MultiStepLR(o, [9, 30], gamma=0.2),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_torchs(name: str) -> None:
    options, make = SCHEDULES[name]
    factor = make_schedule({"name": name, "warmup_steps": 0, **options}, STEPS)
    rates = [PEAK * factor(step) for step in range(STEPS)]
    assert rates == pytest.approx(torch_rates(lambda o: make(o, STEPS)), rel=1e-9)  # worst measured: 3e-15


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_warm_up_is_linear_and_the_schedule_spans_the_rest(name: str) -> None:
    options, make = SCHEDULES[name]
    warmup = 5
    factor = make_schedule({"name": name, "warmup_steps": warmup, **options}, STEPS)
    rates = [PEAK * factor(step) for step in range(STEPS)]
    linear = torch_rates(lambda o: torch_schedules.LinearLR(o, 1 / warmup, total_iters=warmup - 1))
    after = torch_rates(lambda o: make(o, STEPS - warmup))
    assert rates == pytest.approx([*linear[:warmup], *after[: STEPS - warmup]], rel=1e-9)


def test_milestones_count_from_the_first_step_warm_up_included() -> None:
    factor = make_schedule({"name": "multistep", "warmup_steps": 4, "milestones": [6], "gamma": 0.1}, STEPS)
    assert [factor(step) for step in range(8)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1])
    burn_in = {"name": "multistep", "warmup_steps": 4, "milestones": [6], "gamma": 0.1, "warmup_power": 4.0}
    found = [make_schedule(burn_in, STEPS)(step) for step in range(8)]
    assert found == pytest.approx([1 / 256, 1 / 16, 81 / 256, 1, 1, 1, 0.1, 0.1])  # darknet's, by hand


def test_warm_up_that_is_longer_than_the_training_never_reaches_the_peak() -> None:
    cosine = {"name": "cosine", "warmup_steps": 100, "min_factor": 0.0}
    factor = make_schedule(cosine, 20)
    assert [factor(step) for step in (0, 9, 19)] == pytest.approx([0.01, 0.1, 0.2])
    assert warmup_note(cosine, 20, 2e-3) == (
        "scheduler.warmup_steps=100 is longer than the training (20 steps): the learning rate does not reach its peak "
        "0.002; it reaches 0.0004 (20%)"
    )
    assert "(1 step)" in str(warmup_note(cosine, 1, 2e-3))
    assert "at the last step only" in str(warmup_note(cosine, 100, 2e-3))
    assert warmup_note(cosine, 101, 2e-3) is None
    assert warmup_note({"name": "constant", "warmup_steps": 0}, 1, 2e-3) is None


def test_what_a_warm_up_reaches_is_what_the_schedule_reaches() -> None:
    steps = {"name": "step", "warmup_steps": 40, "step_size": 5, "gamma": 0.1}  # 5/40, then a tenth of what rises
    assert "it reaches 0.125 (12%)" in str(warmup_note(steps, 10, 1.0))


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("sgd", {"momentum": 0.9, "nesterov": True}, torch.optim.SGD),
        ("adam", {"betas": [0.8, 0.9], "eps": 1e-6}, torch.optim.Adam),
        ("adamw", {"betas": [0.8, 0.9], "eps": 1e-6}, torch.optim.AdamW),
        ("adagrad", {"momentum": 0.3, "eps": 1e-5}, Adagrad),
    ],
)
def test_optimizers_take_their_settings(name: str, options: dict[str, Any], kind: type) -> None:
    optimizer = make_optimizer(Net(), settings(name=name, **options))
    assert type(optimizer) is kind
    for key, value in options.items():
        assert optimizer.defaults[key] == (tuple(value) if isinstance(value, list) else value)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]


def test_learning_rates_keep_their_names_when_a_schedule_brings_all_to_zero() -> None:
    groups = [{"pattern": "backbone", "lr": 0.02}]
    optimizer = make_optimizer(Net(), settings(name="sgd", momentum=0, nesterov=False, groups=groups))
    schedule = torch_schedules.LambdaLR(optimizer, lambda step: 1.0 - step)
    assert learning_rates(optimizer) == {"lr": 0.02, "lr_1": 0.1}
    optimizer.step()
    schedule.step()
    assert learning_rates(optimizer) == {"lr": 0.0, "lr_1": 0.0}


GRADIENTS = [[[0.5, -2.0], [0.0, 0.0], [1.0, 0.001]], [[0.0, 0.0], [3.0, 1.0], [-1.0, 4.0]], [[1.0, 1.0]] * 3]


def adagrad_by_hand(momentum: float, table: bool, decay: float = 0.0) -> list[list[float]]:
    """One number after the other; of a table a row without a gradient stays where it is."""
    weights = [[1.0, -1.0], [2.0, 0.5], [0.0, 3.0]]
    sums, moments = ([[0.0, 0.0] for _ in range(3)] for _ in range(2))
    for step in GRADIENTS:
        for row, gradient in enumerate(step):
            if table and gradient == [0.0, 0.0]:
                continue
            for column, value in enumerate(gradient):
                value += decay * weights[row][column]
                sums[row][column] += value**2
                change = momentum * moments[row][column] - 0.1 * value / (sums[row][column] + 1e-3) ** 0.5
                moments[row][column] = change
                weights[row][column] += change
    return weights


@pytest.mark.parametrize("momentum", [0.0, 0.4])
@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("way", ["matrix", "table", "touched", "private", "micro-batches"])
def test_adagrad_by_hand(momentum: float, decay: float, way: str) -> None:
    weight = nn.Parameter(torch.tensor([[1.0, -1.0], [2.0, 0.5], [0.0, 3.0]]))
    tables, shared = ([] if way == "matrix" else [weight]), TableRows()
    rows_of = {} if way in ("matrix", "table") else {weight: shared}
    optimizer = Adagrad([weight], 0.1, momentum, 1e-3, decay, tables, rows_of, private=way == "private")
    for step in GRADIENTS:
        gradient = torch.tensor(step)
        rows = torch.tensor([2, 0, 1]) if step is GRADIENTS[2] else gradient.any(dim=1).nonzero()[:, 0].flip(0)
        optimizer.zero_grad()
        if way in ("matrix", "table", "touched"):
            weight.grad = gradient
        elif way == "private":
            shared.gradients = [(rows, gradient[rows])]
        else:
            shared.gradients = [(rows, 0.25 * gradient[rows]), (rows.flip(0), 0.75 * gradient[rows].flip(0))]
        shared.touched = rows
        optimizer.step()
    expected = torch.tensor(adagrad_by_hand(momentum, way != "matrix", decay))
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-6)  # worst 2.4e-7


def test_adagrad_forgets_row_gradients() -> None:
    weight = nn.Parameter(torch.zeros(2, 1))
    shared = TableRows()
    optimizer = Adagrad([weight], rows={weight: shared}, private=True)
    shared.touched = torch.tensor([1])
    shared.gradients = [(torch.tensor([1]), torch.ones(1, 1))]
    optimizer.zero_grad()
    optimizer.step()
    assert not weight.any()
    shared.gradients = [(torch.tensor([1]), torch.ones(1, 1))]
    optimizer.step()
    moved = weight.detach().clone()
    optimizer.step()  # without a backward pass in between
    assert torch.equal(moved, weight)
    assert set(optimizer.state[weight]) == {"sum"}


def test_another_optimizer_gets_gradients_again() -> None:
    table = RowTable(3, 2)
    net, rows = nn.Sequential(table), table.rows
    optimizer = make_optimizer(net, settings(name="adagrad", momentum=0.0, eps=1e-6), private=True)
    assert isinstance(optimizer, Adagrad)
    assert optimizer.rows == {table.weight: rows}
    assert rows.private
    assert rows.weight is table.weight
    make_optimizer(net, settings(name="sgd", momentum=0.0, nesterov=False))
    assert not rows.private
    assert rows.weight is None


def test_a_momentum_that_a_resume_adds_begins_at_zero() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = Adagrad([weight], lr=0.1)
    for momentum in (0.0, 0.5):
        optimizer.param_groups[0]["momentum"] = momentum
        weight.grad = torch.ones(2)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2,), 1 - 0.1 - 0.1 / 2**0.5), rtol=0, atol=1e-5)


def test_decay_last_is_adam_and_then_a_part_of_each_kernel_less() -> None:
    """google-research/mixmatch: after Adam's step ``v *= 1 - wd * lr`` of every kernel, not of biases and norms."""
    settings = {
        "name": "adamw",
        "lr": 0.002,
        "weight_decay": 0.02,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "no_decay_norm_bias": True,
        "groups": [],
        "decay_last": True,
    }
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2)).double())
    ours, plain = make_optimizer(nets[0], settings), torch.optim.Adam(nets[1].parameters(), lr=0.002)
    for step in range(4):
        images = torch.arange(32, dtype=torch.float64).view(4, 2, 2, 2).cos() * (step + 1)
        for net, optimizer in zip(nets, (ours, plain), strict=True):
            optimizer.zero_grad()
            net(images).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            for kernel in (nets[1][0].weight, nets[1][3].weight):
                kernel *= 1 - 0.02 * 0.002
        for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-14, atol=0)
    before = nets[0][0].weight.clone()
    ours.zero_grad()
    ours.step()  # a step that is left out leaves weights alone
    assert torch.equal(nets[0][0].weight, before)


@pytest.mark.parametrize("step", [0, 1, 250, 499, 500, 3515, 3516, 12 * 3516, 24 * 3516 - 1])
def test_a_cosine_in_stairs_is_mmdetections_of_each_epoch(step: int) -> None:
    """The rules of mmcv's CosineAnnealing by epoch with a linear warm-up of 500 steps from a third, as DETR3D has."""
    peak, least, per_epoch, epochs = 2e-4, 2e-7, 3516, 24
    factor = make_schedule(
        {"name": "cosine", "warmup_steps": 500, "warmup_from": 1 / 3, "min_factor": 1e-3, "stairs": epochs},
        per_epoch * epochs,
    )
    regular = least + 0.5 * (peak - least) * (math.cos(math.pi * (step // per_epoch) / epochs) + 1)
    expected = regular * (1 - (1 - step / 500) * (1 - 1 / 3)) if step < 500 else regular
    assert peak * factor(step) == pytest.approx(expected, rel=1e-12)


def of(name: str, net: nn.Module) -> torch.optim.Optimizer:
    numbers = {"betas": (0.9, 0.99), "eps": 1e-8, "momentum": 0.9, "nesterov": True}
    return make_optimizer(net, settings(name=name, **numbers))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("sharded", [False, True])
def test_one_pass_over_plain_parameters_on_a_cpu(name: str, sharded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch has no one-pass SGD for DTensors; scripts/prove_on_gpu.py trains with them."""
    monkeypatch.setattr(optimizers, "is_dtensor", lambda parameter: sharded)
    group = of(name, nn.Linear(2, 2)).param_groups[0]
    piecewise = sharded and name == "sgd"
    assert (bool(group["fused"]), bool(group["foreach"])) == (not piecewise, piecewise)
    group = of(name, nn.Linear(2, 2, device="meta")).param_groups[0]
    assert (bool(group["fused"]), bool(group["foreach"])) == (False, True)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_one_pass_gives_the_same_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As operation by operation, to the rounding of float64, over three steps; decayed and not."""
    found, fast = [], optimizers._fast
    for make in (fast, lambda kind, groups, **numbers: kind(groups, **numbers, foreach=True)):
        monkeypatch.setattr(optimizers, "_fast", make)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
        optimizer = of(name, net)
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.randn(5, 3, dtype=torch.float64)).square().sum().backward()
            optimizer.step()
        found.append(torch.cat([each.detach().flatten() for each in net.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)
