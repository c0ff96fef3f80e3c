"""What deepspeed keeps to itself is where ``lab/compat/deepspeed.py`` looks for it, in its stages 2 and 3 on one rank.

Two ranks, and what comes out of it, are the matter of tests/dist/test_deepspeed.py.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.compat import deepspeed as compat

pytest.importorskip("deepspeed")


class Net(nn.Module):
    """Two layers, of which the first is a leaf module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


class Scaler:
    """Doubles the loss."""

    dynamic, cur_scale = True, 2.0

    def scale_loss(self, loss: Tensor) -> Tensor:
        return loss * self.cur_scale

    def update_scale(self, overflow: bool) -> None:
        self.overflow = overflow


PLACE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the variables of a rank, which deepspeed reads now and then."""
    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)


def make_engine(stage: int, offload: bool = False, accumulate: int = 1) -> tuple[Any, Any, Net]:
    deepspeed = compat.load_deepspeed("cpu")
    assert deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] is False
    torch.manual_seed(0)
    net = Net()
    zero: dict[str, Any] = {"stage": stage, "stage3_param_persistence_threshold": 0}
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulate,
        "gradient_clipping": 0.0,  # deepspeed would clip at 1
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
    }
    compat.start_communication(deepspeed)
    if stage == 3:
        from deepspeed.utils import set_z3_leaf_module

        set_z3_leaf_module(net.first, True)
        deepspeed.zero.Init(module=net, config_dict_or_path=config)
    engine, optimizer, _, _ = deepspeed.initialize(
        args=argparse.Namespace(device_rank=0),
        config=config,
        model=net,
        model_parameters=list(net.parameters()),
        optimizer=torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9),
        dist_init_required=False,
    )
    return engine, optimizer, net


def plain() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.mark.parametrize("stage", [2, 3])
def test_shares_held_shape_of_and_share_masters(stage: int, one_rank: None) -> None:
    engine, zero, net = make_engine(stage)
    compat.share_masters(zero)
    wanted = dict(plain().named_parameters())
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    found: list[compat.HeldShare] = list(compat.shares(zero))
    assert [names[id(share.parameter)] for share in found] == list(wanted)
    for share in found:
        whole = wanted[names[id(share.parameter)]].detach()
        assert compat.is_split(share.parameter) == (stage == 3)
        assert compat.shape_of(share.parameter) == tuple(whole.shape)
        assert (share.group, share.start, share.count) == (0, 0, whole.numel())
        torch.testing.assert_close(share.of(share.flat), whole.flatten())
        if stage == 3:
            part, start = compat.held(share.parameter)
            assert start == 0
            torch.testing.assert_close(part, whole.flatten())
            assert part.data_ptr() == share.of(share.flat).data_ptr()
            assert compat.is_empty(share.parameter)
            assert not compat.is_whole(share.parameter)
    compat.release(engine, net, {})


def test_release(one_rank: None) -> None:
    own = nn.functional.linear
    engine, _, net = make_engine(3)
    engine(torch.ones(1, 3))
    compat.release(engine, net, {})
    assert nn.functional.linear is own
    assert not any(vars(parameter) for parameter in net.parameters())


@pytest.mark.parametrize(("stage", "offload"), [(2, False), (2, True), (3, False), (3, True)])
def test_a_step_with_all_corrections(stage: int, offload: bool, one_rank: None) -> None:
    """Of ``begins_step``, ``ends_accumulation``, ``forget_`` and ``collect_gradients`` and ``reduce_as_they_come``."""
    engine, zero, net = make_engine(stage, offload, accumulate=2)
    compat.share_masters(zero)
    if stage == 3:
        compat.reduce_as_they_come(zero)
        assert compat.gathers_before_backward(net.second) is not None
    batches = [torch.full((1, 3), value) for value in (1.0, -2.0, 3.0, 0.5)]
    said = []
    for number, batch in enumerate(batches):
        said.append(compat.begins_step(engine))
        if said[-1]:
            compat.forget_gradients(zero)
        engine.backward(engine(batch).sum() / 2, scale_wrt_gas=False)
        if compat.ends_accumulation(engine):
            compat.collect_gradients(zero)
        assert compat.ends_accumulation(engine) == bool(number % 2)
        engine.step()
        assert not compat.skipped_step(engine)
    assert said == [True, False, True, False]
    wanted = plain()
    optimizer = torch.optim.SGD(wanted.parameters(), lr=0.5, momentum=0.9)
    for pair in (batches[:2], batches[2:]):
        (sum(wanted(batch).sum() for batch in pair) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    for share, parameter in zip(compat.shares(zero), wanted.parameters(), strict=True):
        torch.testing.assert_close(share.of(share.flat), parameter.detach().flatten(), rtol=0, atol=1e-6)
    compat.release(engine, net, {})


def test_gradient_norm(one_rank: None) -> None:
    """Stage 3 is in tests/dist/test_gradient_norm.py."""
    engine, _, net = make_engine(2)
    batch = torch.tensor([[1.0, -2.0, 3.0]])
    wanted = plain()
    wanted(batch).sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(wanted.parameters(), 1e9)
    engine.backward(engine(batch).sum())
    engine.step()
    assert compat.gradient_norm(engine) == pytest.approx(float(norm), rel=1e-6)
    compat.release(engine, net, {})


def test_set_loss_scaler_and_skipped_step(one_rank: None) -> None:
    engine, zero, net = make_engine(2)
    scaler = Scaler()
    compat.set_loss_scaler(zero, scaler)
    engine.backward(engine(torch.ones(1, 3)).sum() * float("nan"))
    engine.step()
    assert compat.skipped_step(engine)
    assert scaler.overflow
    compat.release(engine, net, {})


def test_require_deepspeed() -> None:
    compat.require_deepspeed()  # where it is missing: tests/unit/strategies/test_deepspeed.py


def test_environment() -> None:
    before = dict(os.environ)
    with compat.environment({"WORLD_SIZE": "7"}, without=("HOME",)):
        assert os.environ["WORLD_SIZE"] == "7"
        assert "HOME" not in os.environ
    assert dict(os.environ) == before
