"""Which strategy is picked, and the one line where none fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab.config.defaults import group_options
from lab.errors import ConfigError
from lab.strategies import planner
from lab.strategies.memory import Parameter, Workload
from lab.strategies.planner import GIB, HEADROOM, Machine, Row, candidates, obstacle, pick, table

OPTIONS = group_options("strategy")
WORK = Workload(tuple(Parameter((1024, 1024), unit=number) for number in range(64)), activations=2**26)
"""64 Mi parameters: 0.25 GiB, 1 GiB with gradients and AdamW's states."""


@pytest.fixture(autouse=True)
def deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "find_spec", lambda name: object())


def trainer(precision: str = "32", compiled: str | None = None) -> dict[str, Any]:
    return {"precision": precision, "compile": compiled, "accelerator": "auto"}


def rows(work: Workload, machine: Machine, configured: str = "auto", precision: str = "32") -> list[Row]:
    return table(work, machine, candidates(OPTIONS, OPTIONS[configured], machine), trainer(precision))


def chosen(gib: float, ranks: int = 4, gpu: bool = True, host: float = 64, precision: str = "32") -> tuple[str, Any]:
    machine = Machine(ranks, int(gib * GIB), int(host * GIB) if gpu else 0, gpu)
    choice = pick(rows(WORK, machine, precision=precision), machine)
    return choice.name, choice.settings.get("cpu_offload")


def test_the_order_is_by_speed() -> None:
    machine = Machine(4, GIB, GIB, gpu=True)
    offloaded = ["fsdp_offload", "deepspeed_zero2_offload", "deepspeed_zero3_offload"]
    assert [row.name for row in rows(WORK, machine)] == ["ddp", "fsdp", "deepspeed_zero3", *offloaded]
    assert [row.name for row in rows(WORK, replace(machine, ranks=1))] == ["single", *offloaded]
    assert [row.name for row in rows(WORK, replace(machine, gpu=False))] == ["ddp", "fsdp", "deepspeed_zero3"]
    assert [row.name for row in rows(WORK, machine, "tensor_parallel")][-1] == "tensor_parallel"


def test_the_fastest_that_fits_is_picked() -> None:
    needs = {row.name: row.needs.total / GIB / HEADROOM for row in rows(WORK, Machine(4, GIB, GIB, gpu=True))}
    assert chosen(needs["ddp"] + 0.001) == ("ddp", None)
    assert chosen(needs["ddp"] - 0.001) == ("fsdp", False)
    assert chosen(needs["fsdp"] - 0.001) == ("fsdp", True)  # zero3's buckets make it the larger one here
    assert chosen(needs["fsdp"] - 0.001, precision="16-mixed")[0] == "deepspeed_zero3_offload"
    assert chosen(8, ranks=1) == ("single", None)
    assert chosen(8, ranks=1, gpu=False) == ("single", None)


def test_a_host_without_room_takes_no_offloaded_states() -> None:
    needs = {row.name: row.needs.total / GIB / HEADROOM for row in rows(WORK, Machine(4, GIB, GIB, gpu=True))}
    with pytest.raises(ConfigError, match=r"fits the devices and needs 0\.25 GiB of the host's memory for each"):
        chosen(needs["fsdp"] - 0.001, host=0.01)


def test_what_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = Machine(2, GIB), Machine(2, GIB, GIB, gpu=True)
    assert obstacle(OPTIONS["fsdp"], gpu, trainer("16-mixed")) == "not with 16-mixed"
    assert obstacle(OPTIONS["fsdp"], gpu, trainer("bf16-mixed")) == ""
    assert obstacle(OPTIONS["ddp"], gpu, trainer("16-mixed")) == ""
    assert obstacle(OPTIONS["deepspeed_zero3"], gpu, trainer("bf16-true")) == "not with bf16-true"
    assert obstacle(OPTIONS["deepspeed_zero3"], gpu, trainer(compiled="inductor")) == "not with inductor"
    assert obstacle({**OPTIONS["fsdp"], "cpu_offload": True}, cpu, trainer()) == "no other memory"
    monkeypatch.setattr(planner, "find_spec", lambda name: None)
    assert obstacle(OPTIONS["deepspeed_zero3"], gpu, trainer()) == "not installed"


def test_the_configured_strategy_stands_in_place_of_its_default() -> None:
    machine = Machine(2, GIB)
    found = candidates(OPTIONS, {**OPTIONS["fsdp"], "reshard_after_forward": False}, machine)
    assert list(found) == ["ddp", "fsdp", "deepspeed_zero3"]
    assert found["fsdp"]["reshard_after_forward"] is False


def test_where_nothing_fits_one_line_says_what_is_missing() -> None:
    machine = Machine(2, int(0.5 * GIB))
    found = rows(replace(WORK, activations=int(0.75 * GIB)), machine)
    least = min(found, key=lambda row: row.needs.total)
    with pytest.raises(ConfigError) as caught:
        pick(found, machine)
    line = str(caught.value)
    assert "\n" not in line
    need = (
        f"{least.name} needs the least, {least.needs.total / GIB:.2f} GiB for each device, 0.40 GiB of 0.50 may be used"
    )
    for part in (need, "a smaller data.batch_size", "trainer.accumulate_grad_batches (activations: 0.75)"):
        assert part in line
    with pytest.raises(ConfigError) as caught:
        pick(rows(WORK, machine), machine)
    assert "batch_size" not in str(caught.value)  # parameters are what is too large


def test_where_nothing_can_run_the_line_says_why() -> None:
    machine = Machine(2, GIB)
    found = [replace(row, obstacle="not installed", fits=False) for row in rows(WORK, machine)]
    with pytest.raises(ConfigError, match=r"no strategy can run here: ddp \(not installed\), fsdp"):
        pick(found, machine)
