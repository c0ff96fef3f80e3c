"""What each strategy holds, against sums by hand for ten parameters, and a few for fifty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab.config.defaults import group_options
from lab.strategies.memory import Estimate, Parameter, Workload, estimate

OPTIONS = group_options("strategy")
TEN = Workload((Parameter((3, 2), unit=0), Parameter((4,))), activations=1000, recomputed=300)
"""A unit of 6 parameters, 4 that belong to no unit; AdamW in float32."""
UNITS = Workload(
    (
        Parameter((5, 4), unit=0),
        Parameter((8,), unit=1),
        Parameter((6,), trained=False, unit=2),
        Parameter((16,)),
    )
)
"""Units of 20, 8 and 6 parameters, the last frozen, and 16 of no unit."""


def parts(found: Estimate) -> tuple[int, int, int, int, int]:
    return (found.parameters, found.gradients, found.optimizer, found.activations, found.scratch)


def of(work: Workload, name: str, ranks: int = 2, gpu: bool = False, **options: Any) -> Estimate:
    return estimate(work, {**OPTIONS[name], **options}, ranks, gpu)


def test_one_device_holds_everything() -> None:
    found = of(TEN, "single", 1)
    assert parts(found) == (40, 40, 80, 1000, 40)
    assert found.total == 1160  # no scratch beside the activations
    assert replace(found, activations=7).total == 200  # no activations beside the scratch
    assert of(TEN, "dp") == found


def test_bytes_of_an_element_states_averages_and_buffers() -> None:
    assert parts(of(replace(TEN, element=8, gathered=8), "single")) == (80, 80, 160, 1000, 80)
    assert parts(of(replace(TEN, element=2, gathered=2), "single")) == (20, 20, 40, 1000, 20)
    assert parts(of(replace(TEN, states=0, scratch=0), "single")) == (40, 40, 0, 1000, 0)
    assert parts(of(replace(TEN, states=1, averages=1, buffers=5), "single")) == (45, 40, 80, 1000, 40)
    assert parts(of(replace(TEN, training=False), "single")) == (40, 0, 0, 1000, 0)
    assert parts(of(UNITS, "single")) == (200, 176, 352, 0, 176)  # 50 parameters, 44 of them trained


def test_ddp_has_a_second_copy_of_the_gradients_where_they_are_no_views() -> None:
    assert of(TEN, "ddp") == of(TEN, "single")
    assert of(TEN, "ddp", gradient_as_bucket_view=False).gradients == 80
    assert of(TEN, "ddp", communication="bf16").gradients == 40 + 20  # one bucket, rounded


def test_fsdp_holds_parts_and_what_is_gathered() -> None:
    # rank 0 holds 2 of 3 rows (4 parameters) and 2 of 4: 6. Gathered are the unit's 6 and the rest's 4, gradients too
    assert parts(of(TEN, "fsdp")) == (24 + 40, 24 + 40, 48, 1000, 24)
    # 3 of 5 rows (12), 4 of 8, 3 of 6 and 8 of 16: 27, of which 24 are trained; the two largest units with the rest: 44
    # parameters; gradients of the largest unit with the rest: 36
    assert parts(of(UNITS, "fsdp")) == (108 + 176, 96 + 144, 192, 0, 96)
    assert of(UNITS, "fsdp", reshard_after_forward=False).parameters == 108 + 200
    assert of(TEN, "fsdp", activation_checkpointing=True).activations == 300


def test_fsdp_gathers_in_half_and_reduces_in_full_precision() -> None:
    work = replace(UNITS, gathered=2)
    # gradients of the rest in 2 bytes, the unit's buffer in 4
    assert parts(of(work, "fsdp")) == (108 + 88, 96 + 32 + 80, 192, 0, 96)
    assert of(work, "fsdp", reduce_dtype="bf16").gradients == 96 + 32 + 40


def test_fsdp_offloaded_keeps_only_what_is_gathered() -> None:
    found = of(UNITS, "fsdp", cpu_offload=True, gpu=True)
    assert parts(found) == (176, 144, 0, 0, 0)
    assert found.host == 108 + 96 + 192


def test_fsdp_without_units_gathers_all() -> None:
    work = Workload((Parameter((4, 2)), Parameter((2,))))
    assert parts(of(work, "fsdp")) == (20 + 40, 20 + 40, 40, 0, 20)


def test_tensor_parallel_splits_what_the_plan_names() -> None:
    work = Workload((Parameter((4, 2), split=True), Parameter((2,))), activations=10)
    assert parts(of(work, "tensor_parallel", tensor_parallel_size=2)) == (24, 24, 48, 20, 24)
    # on 4 ranks both are shared once more; gathered are all 10, of which the plan's are halves in fact
    assert parts(of(work, "tensor_parallel", ranks=4, tensor_parallel_size=2)) == (12 + 40, 12 + 40, 24, 20, 12)


def test_zero3_holds_parts_buckets_and_what_is_gathered() -> None:
    small = {"persistence_threshold": 0, "prefetch_bucket_size": 1, "reduce_bucket_size": 3}
    # halves: 3 of 6 and 2 of 4: 5. The unit and 1 ahead; a bucket of 3 and the unit's gradients
    assert parts(of(TEN, "deepspeed_zero3", **small)) == (20 + 28, 20 + 12 + 24, 40, 1000, 20 + 20)
    frozen = replace(TEN, training=False)  # no gradients will need the room in which the unit comes
    assert parts(of(frozen, "deepspeed_zero3", **small)) == (20 + 48, 0, 0, 1000, 0)
    # what is small stays whole, what is fetched ahead comes on top, never more than all and the unit that comes
    assert of(TEN, "deepspeed_zero3", **{**small, "persistence_threshold": 4}).parameters == 20 + 16 + 28
    assert of(TEN, "deepspeed_zero3", **{**small, "prefetch_bucket_size": 999}).parameters == 20 + 64


def test_the_bucket_of_a_host_is_as_large_as_what_is_written_to_it() -> None:
    on_gpu, on_cpu = (of(TEN, "deepspeed_zero3", gpu=gpu, reduce_bucket_size=1000) for gpu in (True, False))
    assert on_gpu.gradients - on_cpu.gradients == 4000 - 40


def test_zero2_holds_whole_parameters_and_a_copy_of_its_part() -> None:
    found = of(replace(TEN, averages=1), "deepspeed_zero2", reduce_bucket_size=3)
    assert parts(found) == (40 + 20, 2 * 12 + 20, 40 + 40, 1000, 20 + 20)
    offloaded = of(TEN, "deepspeed_zero2_offload", reduce_bucket_size=3)
    assert parts(offloaded) == (40, 24, 0, 1000, 0)
    assert offloaded.host == 20 + 20 + 40 + 40  # parameters, gradients, states, and what is made while it steps


def test_zero3_offloaded_keeps_its_parts_in_the_host() -> None:
    small = {"persistence_threshold": 0, "prefetch_bucket_size": 1, "reduce_bucket_size": 3}
    found = of(TEN, "deepspeed_zero3_offload", **small)
    assert parts(found) == (28, 12 + 24, 0, 1000, 0)
    assert found.host == 20 + 20 + 40 + 40


@pytest.mark.parametrize("name", ["fsdp", "deepspeed_zero3"])
def test_more_ranks_hold_less(name: str) -> None:
    work = Workload(tuple(Parameter((64, 64), unit=number) for number in range(20)))
    totals = [of(work, name, ranks).total for ranks in (1, 2, 4, 8)]
    assert totals == sorted(totals, reverse=True)
