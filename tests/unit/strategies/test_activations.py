"""What backward needs, against sums by hand and against a pass that computes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from lab.compat.torch import reads_values
from lab.strategies.activations import Saved, count_saved
from lab.structures import Movable

CPU = torch.device("cpu")


@dataclass
class Batch(Movable):
    x: Tensor


def step(module: nn.Module, batch: Batch) -> None:
    module(batch.x).square().sum()


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


BATCH = Batch(torch.zeros(5, 3))


def test_the_sum_by_hand() -> None:
    # the batch (5, 3), what comes out of the ReLU (5, 8), kept once for it and the next layer, and the result (5, 2)
    assert count_saved(mlp(), step, BATCH, CPU, "32").total == 4 * (15 + 40 + 10)
    assert count_saved(mlp(), step, BATCH, CPU, "64").total == 8 * (15 + 40 + 10)
    assert count_saved(mlp(), step, BATCH, CPU, "bf16-true").total == 2 * (15 + 40 + 10)


def test_autocast_counts_what_is_rounded() -> None:
    # in two bytes, and the rounded weight of the second layer too: the first one's input needs no gradient
    assert count_saved(mlp(), step, BATCH, CPU, "bf16-mixed").total == 2 * (15 + 40 + 16 + 10)
    assert for_real(mlp(), BATCH) == 2 * (15 + 40 + 16 + 10)


def for_real(module: nn.Module, batch: Batch) -> int:
    saved = Saved()
    saved.forget(list(module.parameters()))
    with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda x: x):
        step(module, batch)
    return saved.total


def test_units_that_are_computed_again_keep_their_inputs() -> None:
    blocks = [nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4)) for _ in range(3)]
    saved = count_saved(nn.Sequential(*blocks), step, Batch(torch.zeros(5, 4)), CPU, "32", blocks)
    # each unit keeps its input (5, 4) and its middle (5, 16); outside is the last unit's result (5, 4)
    assert saved.units == {0: 400, 1: 400, 2: 400}
    assert (saved.outside, saved.inputs) == (80, 240)
    assert (saved.total, saved.recomputed) == (1280, 80 + 240 + 400)


class Keeping(nn.Module):
    """A module that changes a buffer, keeps what it makes and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.kept = nn.Linear(3, 3), nn.BatchNorm1d(3), {}

    def forward(self, x: Tensor) -> Tensor:
        self.kept["ones"] = torch.ones(3)
        return nn.functional.dropout(self.norm(self.linear(x)), 0.5, self.training)


def test_nothing_of_the_module_changes() -> None:
    module = Keeping().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    generator = torch.get_rng_state()
    assert count_saved(module, step, BATCH, CPU, "32").total > 0
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not module.kept
    assert not module.training
    assert not module._forward_hooks
    assert torch.get_default_dtype() == torch.float32


class Looking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert x.sum().numpy() == 0
        return self.linear(x)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_network_that_looks_at_values_is_run(device: str) -> None:
    assert count_saved(Looking().to(device), step, BATCH, CPU, "32").total == 4 * (15 + 15)


def test_a_network_on_the_meta_device_counts_as_on_a_real_one() -> None:
    with torch.device("meta"):
        module = mlp()
    assert count_saved(module, step, BATCH, CPU, "32").total == 4 * (15 + 40 + 10)


READING = {
    "numpy": lambda x: x.numpy(),
    "item": lambda x: x.sum().item(),
    "list": lambda x: x.tolist(),
    "if": lambda x: bool(x.sum()),
    "mask": lambda x: x[x > 0],
    "where": lambda x: x.nonzero(),
    "host": lambda x: x.cpu().numpy(),
}


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("kind", ["fake", "meta"])
def test_torch_says_so_where_values_are_read(kind: str, name: str) -> None:
    """A torch that words it otherwise is to be followed in ``lab.compat.torch.READS_VALUES``."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    if kind == "fake":
        with FakeTensorMode(), pytest.raises(RuntimeError) as caught:
            READING[name](torch.empty(2, 3))
    else:
        with pytest.raises((RuntimeError, TypeError)) as caught:
            READING[name](torch.empty(2, 3, device="meta"))
    assert reads_values(caught.value)


def test_other_errors_do_not_say_so() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3, device="meta") @ torch.ones(2, 3, device="meta")
    assert not reads_values(caught.value)
    assert not reads_values(ValueError("Cannot copy out of meta tensor"))
