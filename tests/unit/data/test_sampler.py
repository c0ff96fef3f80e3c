"""Batches are a function of seed, epoch and step: nothing is lost, repeated or reordered by a resume or by ranks."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from lab.data.sampler import EvalBatches, TrainBatches, choose
from lab.errors import ConfigError, DataError

LENGTH, BATCH, STEPS = 37, 8, 11  # 4 steps an epoch, 5 samples dropped


def batches(**options: object) -> list[list[tuple[int, int]]]:
    return list(TrainBatches(LENGTH, BATCH, options.pop("seed", 3), STEPS, **options))  # type: ignore[arg-type]


def test_epochs_hold_each_sample_at_most_once_in_another_order() -> None:
    found = batches()
    assert [len(batch) for batch in found] == [BATCH] * STEPS
    epochs = [[key for batch in found[start : start + 4] for key in batch] for start in (0, 4)]
    for number, keys in enumerate(epochs):
        assert {epoch for epoch, _ in keys} == {number}
        assert len({index for _, index in keys}) == 32
    assert [index for _, index in epochs[0]] != [index for _, index in epochs[1]]
    assert found != batches(seed=4)


@pytest.mark.parametrize("start", [1, 4, 6, 11])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_feeds_what_is_left_of_the_undisturbed_run(start: int, accumulate: int) -> None:
    assert batches(start_step=start, accumulate=accumulate) == batches(accumulate=accumulate)[start * accumulate :]


def test_micro_batches_and_ranks_share_the_global_batch() -> None:
    whole = batches()
    parts = [batches(accumulate=2, world_size=2, rank=rank) for rank in (0, 1)]
    for step in range(STEPS):
        shares = [key for micro in (2 * step, 2 * step + 1) for rank in (0, 1) for key in parts[rank][micro]]
        assert shares == whole[step]


def test_batches_of_alike_shapes() -> None:
    ratios = [2.0 if index % 3 else 0.5 for index in range(LENGTH)]
    loader = TrainBatches(LENGTH, BATCH, 0, 4, aspect_ratios=ratios)
    kinds = [{ratios[index] > 1 for _, index in batch} for batch in loader]
    assert sum(len(kind) == 2 for kind in kinds) <= 1  # what is left of both groups
    assert len({key for batch in loader for key in batch}) == 32


def test_weighted_samples_are_drawn_as_often_as_their_weights_say() -> None:
    weights = [8.0] * 4 + [1.0] * 32 + [0.0]
    loader = TrainBatches(LENGTH, BATCH, 0, 2000, weights=weights)
    keys = [key for batch in loader for key in batch]
    assert len(set(keys)) == len(keys) == 16000  # an image that comes again is augmented anew
    counts = Counter(index for _, index in keys)
    assert counts[36] == 0
    assert sum(counts[index] for index in range(4)) == pytest.approx(8000, abs=253)  # 4 standard deviations
    whole = batches(weights=weights)
    parts = [batches(weights=weights, accumulate=2, world_size=2, rank=rank) for rank in (0, 1)]
    shares = [
        [key for micro in (0, 1) for rank in (0, 1) for key in parts[rank][2 * step + micro]] for step in range(11)
    ]
    assert shares == whole
    assert batches(weights=weights, start_step=5) == whole[5:]


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(ConfigError, match="8 is not divisible by 3 ranks x 1"):
        batches(world_size=3)
    with pytest.raises(DataError, match=r"has 37 samples, fewer than data\.batch_size=40; use at most 37"):
        TrainBatches(LENGTH, 40, 0, 1)


@pytest.mark.parametrize("length", [1, 8, 9, 16, 37])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_random_choice_is_evaluated_once(length: int, world_size: int) -> None:
    """The same samples whatever the ranks; all of them where there are no more."""
    chosen = choose(length, 9, seed=1)
    assert (chosen is None) == (length <= 9)
    ranks = [EvalBatches(length, BATCH, rank, world_size, chosen=chosen) for rank in range(world_size)]
    indices = sorted(index for rank in ranks for batch in rank for _, index, valid in batch if valid)
    assert len(indices) == len(set(indices)) == min(length, 9)
    assert choose(37, 9, seed=1) == choose(37, 9, seed=1) != choose(37, 9, seed=2)


@pytest.mark.parametrize("length", [1, 8, 9, 16, 37])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_evaluation_sees_every_sample_once_in_equally_many_rounds(length: int, world_size: int) -> None:
    ranks = [EvalBatches(length, BATCH, rank, world_size) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    keys = [key for rank in ranks for batch in rank for key in batch]
    assert sorted(index for _, index, valid in keys if valid) == list(range(length))
    assert all(batch for rank in ranks for batch in rank)  # a forward pass in every round
    rounds = islice(zip(*ranks, strict=True), len(ranks[0]))
    assert all(len(batch) <= BATCH // world_size for batch_of_ranks in rounds for batch in batch_of_ranks)
