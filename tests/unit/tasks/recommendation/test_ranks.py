"""Ranks and best lists in blocks, against a plain sort of everything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lab.errors import DataError
from lab.tasks.recommendation.ranks import Pairs, Score, rank_first, rank_targets, top_items
from lab.tasks.recommendation.sampling import draw_outside

QUERIES, ITEMS = 13, 40


def make_scores(distinct: int) -> Tensor:
    """Return scores (Q, I) of few different values, so that ties are everywhere."""
    generator = torch.Generator().manual_seed(distinct)
    return torch.randint(distinct, (QUERIES, ITEMS), generator=generator).float() - 1


def score_of(scores: Tensor) -> Score:
    """Return the function that reads the scores of some queries and items."""
    return lambda rows, items: scores[rows, items.start - 1 : items.stop - 1]


def make_excluded() -> tuple[Pairs, list[set[int]]]:
    """Return items left out of each query: none of the first, all but two of the last; in disorder, some twice."""
    generator = torch.Generator().manual_seed(0)
    sets = [set(torch.randint(1, ITEMS + 1, (query,), generator=generator).tolist()) for query in range(QUERIES - 1)]
    sets.append(set(range(3, ITEMS + 1)))
    pairs = [(query, item) for query, items in enumerate(sets) for item in items]
    order = torch.randperm(len(pairs), generator=generator).tolist()
    queries, items = torch.tensor([pairs[index] for index in [*order, *order[:9]]]).T
    return Pairs.of(queries, items, ITEMS), sets


def expected_list(scores: Tensor, left_out: set[int], k: int) -> list[int]:
    """Return the best items by a sort in Python; of equal ones the lower number first."""
    values = scores.tolist()
    items = sorted((item for item in range(1, ITEMS + 1) if item not in left_out), key=lambda i: (-values[i - 1], i))
    return [*items[:k], *[0] * (k - len(items))]


@pytest.mark.parametrize("max_scores", [1, 3 * ITEMS + 5, 10**6])
@pytest.mark.parametrize("distinct", [1, 3, 1000])
def test_ranks_and_lists(distinct: int, max_scores: int) -> None:
    """Blocks of one item, of nine and of all; all scores equal, many ties, few."""
    scores = make_scores(distinct)
    excluded, sets = make_excluded()
    targets = torch.arange(1, QUERIES + 1)
    ranking = rank_targets(score_of(scores), targets, ITEMS, excluded, top=5, max_scores=max_scores)
    listed, values = top_items(score_of(scores), QUERIES, ITEMS, 5, excluded, max_scores=max_scores)
    for query, target in enumerate(targets.tolist()):
        aim = scores[query, target - 1]
        others = [item for item in range(1, ITEMS + 1) if item != target and item not in sets[query]]
        row = scores[query, torch.tensor(others) - 1]
        assert ranking.greater[query] == (row > aim).sum()
        assert ranking.equal[query] == (row == aim).sum()
        assert ranking.top_items[query].tolist() == expected_list(scores[query], sets[query] - {target}, 5)
        expected = expected_list(scores[query], sets[query], 5)
        assert listed[query].tolist() == expected
        assert values[query].tolist() == [float(scores[query, i - 1]) if i else -torch.inf for i in expected]
    assert torch.equal(scores, make_scores(distinct)), "the network's scores are left as they were"


@pytest.mark.parametrize("width", [1, 7, 64])
def test_a_targets_score_is_that_of_its_block(width: int) -> None:
    """Scores computed for the target alone differ in the last bit here: the queries are counted once more."""
    scores = make_scores(5) + 1
    targets = torch.arange(QUERIES) * 3 + 1

    def score(rows: slice | Tensor, items: slice) -> Tensor:
        found = scores[rows, items.start - 1 : items.stop - 1]
        return found if isinstance(rows, slice) else found.nextafter(torch.tensor(torch.inf))

    ranking = rank_targets(score, targets, ITEMS, top=4, max_scores=width * QUERIES)
    aims = scores.gather(1, targets[:, None] - 1)
    assert torch.equal(ranking.greater, (scores > aims).sum(1))
    assert torch.equal(ranking.equal, (scores == aims).sum(1) - 1)
    assert ranking.equal.sum() > QUERIES
    assert ranking.top_items.tolist() == [expected_list(row, set(), 4) for row in scores]


def test_lists_of_many_blocks_with_nan_and_ties() -> None:
    """Groups of 32 scores and what is left of a block; NaN hides no score beside it, of equal scores the first stay."""
    generator = torch.Generator().manual_seed(7)
    scores = torch.randint(60, (5, 1000), generator=generator).float()
    scores[:, ::17] = torch.nan
    items, values = top_items(score_of(scores), 5, 1000, 30, max_scores=5 * 150)
    for row in range(5):
        known = [(-value, item + 1) for item, value in enumerate(scores[row].tolist()) if value == value]
        expected = sorted(known)[:30]
        assert items[row].tolist() == [item for _, item in expected]
        assert values[row].tolist() == [-value for value, _ in expected]


def test_nothing_excluded_and_short_lists() -> None:
    """Without exclusion ranks are those of a sort; k may be all items, or more."""
    scores = make_scores(1000)
    targets = torch.full((QUERIES,), 7)
    ranking = rank_targets(score_of(scores), targets, ITEMS, top=ITEMS + 2)
    assert torch.equal(ranking.greater, (scores > scores[:, 6:7]).sum(1))
    assert ranking.top_items[:, :ITEMS].sort(1).values.tolist() == [list(range(1, ITEMS + 1))] * QUERIES
    assert not ranking.top_items[:, ITEMS:].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precisions(dtype: torch.dtype) -> None:
    """Other floats than float32."""
    scores = make_scores(30).to(dtype)
    ranking = rank_targets(score_of(scores), torch.full((QUERIES,), 7), ITEMS, top=3)
    assert torch.equal(ranking.greater, (scores > scores[:, 6:7]).sum(1))
    assert ranking.top_items.tolist() == [expected_list(row, set(), 3) for row in scores]


def test_diverged_networks_rank_last() -> None:
    """A target of NaN is below everything, another item of NaN above, and neither is recommended."""
    scores = torch.tensor([[1.0, torch.nan, 3.0], [torch.nan] * 3, [1.0, 2.0, torch.nan]])
    ranking = rank_targets(score_of(scores), torch.tensor([2, 1, 2]), 3, top=3)
    assert ranking.greater.tolist() == [2, 2, 1]
    assert ranking.equal.tolist() == [0, 0, 0]
    assert ranking.top_items.tolist() == [[3, 1, 0], [0, 0, 0], [2, 1, 0]]
    assert rank_first(scores[:, [1, 0, 2]])[0].tolist() == [2, 2, 1]


def test_views_of_the_network_stay_whole() -> None:
    """A network may return a view of its own numbers, the same for all queries."""
    counts = torch.tensor([5.0, 4.0, 3.0])
    excluded = Pairs.of(torch.tensor([0]), torch.tensor([1]), 3)
    items, _ = top_items(lambda rows, items: counts.expand(1, -1), 1, 3, 2, excluded)
    assert items.tolist() == [[2, 3]]
    assert counts.tolist() == [5, 4, 3]


def test_no_queries() -> None:
    """Nothing asked, nothing answered."""
    ranking = rank_targets(score_of(make_scores(3)), torch.zeros(0, dtype=torch.int64), ITEMS, top=4)
    assert ranking.greater.shape == (0,)
    assert ranking.top_items.shape == (0, 4)
    assert top_items(score_of(make_scores(3)), 0, ITEMS, 4)[0].shape == (0, 4)


@pytest.mark.parametrize("weighted", [False, True])
def test_draws_outside(weighted: bool) -> None:
    """Draws stay outside, come as often as their weights say, and do not depend on the other queries."""
    weights = torch.tensor([3, 0, 1, 6, 2, 8, 0, 4]) if weighted else torch.ones(8, dtype=torch.int64)
    left_out = [{1, 6}, set(), {8}, {1, 2, 3, 4, 5, 6, 7}]
    excluded = Pairs.of(*torch.tensor([(query, item) for query, items in enumerate(left_out) for item in items]).T, 8)
    sequences, ordinals = torch.tensor([10, 11, 11, 12]), torch.tensor([0, 0, 1, 0])
    drawn = draw_outside(weights, excluded, sequences, ordinals, 20000, seed=1)
    for query, items in enumerate(left_out):
        chances = torch.tensor([0 if item in items else int(weights[item - 1]) for item in range(1, 9)]).double()
        counts = torch.bincount(drawn[query], minlength=9)[1:].double()
        expected = 20000 * chances / chances.sum()
        assert not counts[chances == 0].any()
        assert (((counts - expected) ** 2 / expected.clamp(min=1)).sum()) < 40  # chi-squared, 7 degrees: 1e-6
    assert not torch.equal(drawn[1], drawn[2])
    alone = draw_outside(
        weights, Pairs.of(torch.tensor([0]), torch.tensor([8]), 8), sequences[2:3], ordinals[2:3], 9, 1
    )
    assert torch.equal(alone[0], drawn[2, :9])


def test_nothing_left_to_draw() -> None:
    """A sequence that has had everything is named."""
    excluded = Pairs.of(torch.zeros(3, dtype=torch.int64), torch.tensor([1, 2, 3]), 3)
    with pytest.raises(DataError, match="sequence 42: it has had all"):
        draw_outside(torch.ones(3, dtype=torch.int64), excluded, torch.tensor([42]), torch.tensor([0]), 5, 0)
