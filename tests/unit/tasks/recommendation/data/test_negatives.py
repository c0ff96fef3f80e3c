"""The sampler of negatives: exact, independent of the batch, and as likely as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from lab.errors import ConfigError, DataError
from lab.ops.hashing import uniform
from lab.tasks.recommendation.data.negatives import NegativeSampler

# Four sequences over seven items; the third is empty, the last holds an item twice.
ITEMS, OFFSETS = [1, 2, 7, 3, 4, 4], [0, 3, 4, 4, 6]
HELD = [{1, 2, 7}, {3}, set(), {4}]


def sampler(**changes):
    return NegativeSampler(ITEMS, OFFSETS, num_items=7, **changes)


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_every_item_is_drawn_as_often_as_it_should(alpha):
    counts = [5, 1, 30, 7, 0, 2, 11]
    draws = sampler(alpha=alpha, item_counts=counts)
    weights = np.array(counts, dtype=float) ** alpha if alpha else np.ones(7)
    for row, held in enumerate(HELD):
        drawn = draws.draw_negatives(np.full(2000, row), np.arange(2000), epoch=0, count=10)
        found = np.bincount(drawn.ravel(), minlength=8)[1:]
        expected = np.where([item in held for item in range(1, 8)], 0.0, weights)
        expected *= drawn.size / expected.sum()
        assert (found[expected == 0] == 0).all()
        assert chisquare(found[expected > 0], expected[expected > 0]).pvalue > 1e-4


def test_a_draw_does_not_depend_on_the_batch():
    draws = sampler(seed=3)
    rows, positions = np.repeat(np.arange(4), 50), np.tile(np.arange(50), 4)
    whole = draws.draw_negatives(rows, positions, epoch=5, count=4)
    order = np.random.default_rng(0).permutation(200)[:77]
    assert (draws.draw_negatives(rows[order], positions[order], epoch=5, count=4) == whole[order]).all()
    assert (draws.draw_negatives(rows, positions, epoch=5, count=2) == whole[:, :2]).all()
    others = (sampler(seed=4).draw_negatives(rows, positions, 5, 4), draws.draw_negatives(rows, positions, 6, 4))
    assert all((other != whole).mean() > 0.5 for other in others)


def test_noise_is_uniform_and_uncorrelated():
    noise = uniform(0, 1, np.repeat(np.arange(100), 100), np.tile(np.arange(100), 100), 4)
    assert chisquare(np.histogram(noise, 64, (0, 1))[0]).pvalue > 1e-4
    grid = noise.reshape(100, 100, 4) - 0.5
    for shifted in ((grid[1:] * grid[:-1]), (grid[:, 1:] * grid[:, :-1]), (grid[..., 1:] * grid[..., :-1])):
        assert abs(shifted.mean()) * 12 < 5 / shifted.size**0.5
    assert noise.min() >= 0
    assert noise.max() < 1


def test_popularity_of_very_different_sizes():
    counts = [10**9, 1, 1, 1, 1, 1, 1]
    draws = NegativeSampler([1], [0, 1], 7, alpha=1.0, item_counts=counts)
    drawn = draws.draw_negatives(np.zeros(6000), np.arange(6000), 0, 1)
    assert chisquare(np.bincount(drawn.ravel(), minlength=8)[2:]).pvalue > 1e-4


def test_a_sequence_that_holds_everything_draws_from_all():
    draws = NegativeSampler([1, 2, 3, 1], [0, 3, 4], 3)
    assert set(draws.draw_negatives(np.zeros(99), np.arange(99), 0, 1).ravel()) == {1, 2, 3}
    assert set(draws.draw_negatives(np.ones(99), np.arange(99), 0, 1).ravel()) == {2, 3}


def test_mistakes_are_named():
    with pytest.raises(DataError, match="from 1 to num_items=3"):
        NegativeSampler([4], [0, 1], 3)
    with pytest.raises(DataError, match="needs the counts of all 3 items"):
        NegativeSampler([1], [0, 1], 3, alpha=0.5)
    with pytest.raises(ConfigError, match="alpha=-1: should be at least 0"):
        NegativeSampler([1], [0, 1], 3, alpha=-1)
