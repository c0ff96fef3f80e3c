"""Lanes against a walk written out step by step, and what ranks, micro-batches and resumes make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.data.loader import TrainStream
from lab.errors import ConfigError, DataError
from lab.structures import LaneBatch
from lab.tasks.recommendation.data.lanes import CHUNK, LaneBatches, LaneSchedule, LaneSteps, only

Walk = list[list[tuple[int, int, bool]]]


def make_sessions(count: int, num_items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return offsets, items 1..I (each at least once) and an order; some sessions have one event."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 7, count)
    items = generator.integers(1, num_items + 1, lengths.sum())
    items[:num_items] = np.arange(1, num_items + 1)
    return np.concatenate([[0], np.cumsum(lengths)]), items, generator.permutation(count)


def walk(offsets: np.ndarray, items: np.ndarray, order: np.ndarray, num_lanes: int, at_least: int = 1) -> Walk:
    """Return (current, next, session begins) of each live lane at each step, one event after the other."""
    waiting = [items[offsets[s] : offsets[s + 1]].tolist() for s in order if offsets[s + 1] - offsets[s] > 1]
    lanes: list[list[int]] = [waiting.pop(0) for _ in range(min(num_lanes, len(waiting)))]
    fresh = [True] * len(lanes)
    steps: Walk = []
    while len(lanes) >= at_least and lanes:
        steps.append([(lane[0], lane[1], new) for lane, new in zip(lanes, fresh, strict=True)])
        lanes = [lane[1:] for lane in lanes]
        fresh = [False] * len(lanes)
        for number, lane in enumerate(lanes):
            if len(lane) < 2 and waiting:
                lanes[number], fresh[number] = waiting.pop(0), True
        alive = [number for number, lane in enumerate(lanes) if len(lane) > 1]
        lanes, fresh = [lanes[number] for number in alive], [fresh[number] for number in alive]
    return steps


@pytest.mark.parametrize(("count", "num_lanes", "at_least"), [(60, 7, 1), (60, 7, 2), (200, 16, 1), (9, 16, 1)])
def test_schedule_is_the_walk(count: int, num_lanes: int, at_least: int) -> None:
    offsets, items, order = make_sessions(count, 12)
    schedule = LaneSchedule.of_sessions(offsets, items, order, num_lanes).until(at_least)
    found = [
        [(int(a), int(b), bool(c)) for a, b, c in zip(*row, strict=True) if a]
        for row in zip(schedule.current, schedule.following, schedule.starts, strict=True)
    ]
    assert found == walk(offsets, items, order, num_lanes, at_least)


def test_sessions_of_one_event_alone_are_refused() -> None:
    with pytest.raises(DataError, match="no session has two events"):
        LaneSchedule.of_sessions(np.arange(4), np.ones(3, dtype=int), np.arange(3), 2)


def make_steps(num_negatives: int = 40, num_lanes: int = 8, count: int = 400, alpha: float = 0.5, **options: int):
    offsets, items, order = make_sessions(count, 30)
    schedule = LaneSchedule.of_sessions(offsets, items, order, num_lanes)
    return LaneSteps(schedule, np.bincount(items)[1:], num_negatives, alpha, **options)


@pytest.mark.parametrize("num_negatives", [0, 40])
def test_each_step_names_its_items_once(num_negatives: int) -> None:
    """Against counting with Python's own sets and lists; the last steps have ended lanes."""
    steps = make_steps(num_negatives)
    counts = np.bincount(make_sessions(400, 30)[1])
    negatives = {chunk: steps.negatives(3, chunk) for chunk in range(len(steps) // CHUNK + 1)}
    for step in range(len(steps)):
        batch, targets = steps[3, step], steps[3, step].targets
        alive = np.flatnonzero(steps.schedule.current[step])
        current = steps.schedule.current[step, alive].tolist()
        following = steps.schedule.following[step, alive].tolist()
        drawn = negatives[step // CHUNK][step % CHUNK].tolist()
        assert targets.items.tolist() == sorted({*following, *drawn})
        assert targets.next_counts.tolist() == [following.count(item) for item in targets.items.tolist()]
        assert targets.negative_counts.tolist() == [drawn.count(item) for item in targets.items.tolist()]
        assert targets.support.tolist() == [counts[item] for item in targets.items.tolist()]
        torch.testing.assert_close(targets.negative_support, targets.support.sqrt())
        assert targets.items[targets.positions].tolist() == following
        assert batch.items.tolist() == current
        assert batch.lanes.tolist() == alive.tolist()
        assert batch.current.tolist() == sorted(set(current))
        assert batch.current[batch.slots].tolist() == current
        assert batch.touched.tolist() == [*targets.items.tolist(), *sorted(set(current) - set(targets.items.tolist()))]
        assert batch.touched[batch.touched_slots].tolist() == current
    assert len(alive) < 8


def test_ranks_and_micro_batches_cut_the_lanes() -> None:
    whole = make_steps()
    parts = [make_steps(accumulate=2, rank=rank, world_size=2) for rank in range(2)]
    for step in (0, 70, len(whole) - 1):
        expected = whole[1, step]
        found = [part[1, 2 * step + number] for number in range(2) for part in parts]
        for name in ("items", "lanes", "starts", "slots", "touched_slots"):
            assert torch.equal(torch.cat([getattr(batch, name) for batch in found]), getattr(expected, name))
        assert torch.equal(torch.cat([b.targets.positions for b in found]), expected.targets.positions)
        for batch in found:
            assert torch.equal(batch.touched, expected.touched)
            assert torch.equal(batch.targets.next_counts, expected.targets.next_counts)
            assert batch.num_lanes == 8
        assert sum(batch.targets.share for batch in found) == 8


def test_rows_keep_the_shares() -> None:
    batch = make_steps()[0, 0]
    parts = [batch.rows(slice(0, 3)), batch.rows(slice(3, 8))]
    assert [part.num_samples for part in parts] == [3, 5]
    assert sum(part.targets.share for part in parts) == 8


def test_lanes_must_be_divisible() -> None:
    with pytest.raises(ConfigError, match=r"data\.batch_size=8 is not divisible by 3 ranks x 1"):
        make_steps(world_size=3)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_items_that_never_stand_in_the_data_are_never_drawn(alpha: float) -> None:
    schedule = LaneSchedule.of_sessions(np.array([0, 2]), np.array([2, 4]), np.array([0]), 1)
    steps = LaneSteps(schedule, [0, 3, 0, 1, 0], 500, alpha)
    assert set(np.unique(steps.negatives(0, 0))) == {2, 4}
    assert steps.draw(np.array([0.0, 1 - 1e-16])).tolist() == [1, 3]
    assert steps[0, 0].targets.items.tolist() == [2, 4]


def test_items_without_a_count_are_refused() -> None:
    schedule = LaneSchedule.of_sessions(np.array([0, 2]), np.array([1, 2]), np.array([0]), 1)
    with pytest.raises(DataError, match="1 items of the training sessions have no count"):
        LaneSteps(schedule, [1, 0, 1])
    with pytest.raises(DataError, match="2 sessions of two events or more are needed, or negatives"):
        LaneSteps(schedule, [1, 1], num_negatives=0)


def test_negatives_are_drawn_by_support() -> None:
    steps = make_steps(num_negatives=2000, alpha=0.75)
    drawn = np.bincount(np.concatenate([steps.negatives(0, chunk).ravel() for chunk in range(4)]), minlength=31)[1:]
    shares = steps.support**0.75 / (steps.support**0.75).sum()
    expected = shares * drawn.sum()
    # 512,000 draws from 30 items: chi-square of 29 degrees of freedom, 99.9 % below 58.3
    assert ((drawn - expected) ** 2 / expected).sum() < 58.3
    uniform = np.random.default_rng(1).random(10_000)
    assert np.array_equal(steps.draw(uniform), np.searchsorted(steps.draw.bounds, uniform, side="right"))
    assert steps.draw(np.array([0.0, 1 - 1e-16])).tolist() == [0, 29]


def test_negatives_depend_on_seed_and_epoch() -> None:
    draws = [make_steps(seed=seed).negatives(epoch, 0).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert draws[0] == draws[3]
    assert draws[0] not in draws[1:3]


def stream(start: int, **options: int) -> list[LaneBatch]:
    steps = make_steps(**options)
    batches = LaneBatches(steps, len(steps.schedule) + 20, start)
    return list(TrainStream(steps, batches, only, lambda batch: {"lanes": batch.targets.share}, 0, False))


def test_a_resumed_stream_goes_on_alike_over_the_end_of_an_epoch() -> None:
    whole, rest = stream(0), stream(130)
    assert len(rest) == len(whole) - 130
    for one, other in zip(whole[130:], rest, strict=True):
        assert torch.equal(one.targets.items, other.targets.items)
        assert torch.equal(one.items, other.items)
        assert one.totals == {"lanes": 8}
    assert bool(whole[-20].starts.all())  # a new epoch: every lane begins


def test_an_epoch_may_be_cut_short() -> None:
    steps = make_steps()
    keys = [key for [key] in LaneBatches(steps, 7, start_step=2, limit=3)]
    assert keys == [(0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
