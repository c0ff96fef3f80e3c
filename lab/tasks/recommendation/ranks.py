"""Exact ranks and top-k lists among all items, without holding the scores of all queries for all items at once.

Q queries, I items numbered 1 to I. Scores are computed for blocks of queries. A target's score is read from the same
matrix that it is compared with: computed separately it could differ in the last bit, and ties would be missed.

NaN counts as above every target, and a target with NaN as below every item, so that a network that has diverged is
ranked last, not first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Score = Callable[[slice], Tensor]
"""A function from a slice of the queries to their scores (n, I) for all items."""

_EXACT = 2**22
"""The number of items counted in float32 at once: below 2**24 every sum of ones is exact."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of query and item, for instance the items that a user has seen: sorted, each pair once.

    Attributes:
        queries: (P,) int64, ascending.
        items: (P,) int64, 1 to I, ascending within a query.
    """

    queries: Tensor
    items: Tensor

    @classmethod
    def of(cls, queries: Tensor, items: Tensor, num_items: int) -> Pairs:
        """Sort pairs (P,), (P,) given in any order; item 0 is ignored, and duplicates are allowed."""
        keys = torch.unique(queries[items > 0] * (num_items + 1) + items[items > 0])
        return cls(keys // (num_items + 1), keys % (num_items + 1))

    def without(self, items: Tensor) -> Pairs:
        """Return the pairs without one item (Q,) per query."""
        kept = self.items != items[self.queries]
        return Pairs(self.queries[kept], self.items[kept])

    def starts(self, queries: Tensor) -> Tensor:
        """Return where the pairs of each of some queries begin."""
        return torch.searchsorted(self.queries, queries)


@dataclass(frozen=True)
class Ranking:
    """The ranks of Q targets among all items that may be recommended.

    Attributes:
        greater: (Q,) int64 number of other items with a higher score.
        equal: (Q,) int64 number of other items with the same score.
        top_items: (Q, k) int64 the best items, best first, with equal scores the lower number first; padded with 0.
    """

    greater: Tensor
    equal: Tensor
    top_items: Tensor


def rank_targets(
    score: Score,
    targets: Tensor,
    num_items: int,
    excluded: Pairs | None = None,
    top: int = 0,
    max_scores: int | None = None,
) -> Ranking:
    """Rank each query's target among all items.

    Args:
        score: computes the scores of a block of queries.
        targets: (Q,) int64, 1 to I.
        num_items: I.
        excluded: items that are left out of a query's ranking; the query's target is never left out.
        top: k, the number of best items to return.
        max_scores: scores held at once (at least those of one query); ``default_max_scores`` if None.
    """
    excluded = None if excluded is None else excluded.without(targets)
    greater, equal = torch.zeros_like(targets), torch.zeros_like(targets)
    best = [targets.new_zeros((0, top))]
    for rows, pairs in _blocks(len(targets), num_items, excluded, targets.device, max_scores):
        scores = score(rows)
        aims = scores.gather(1, targets[rows, None] - 1)
        greater[rows], equal[rows] = _count(scores, aims, pairs)
        if top:
            best.append(_top(_leave_out(scores, pairs), top)[0])
    return Ranking(greater, equal, torch.cat(best))


def top_items(
    score: Score,
    num_queries: int,
    num_items: int,
    k: int,
    excluded: Pairs | None = None,
    device: torch.device | str = "cpu",
    max_scores: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the best items (Q, k) int64, best first, with equal scores the lower number first, and scores (Q, k).

    Lists with fewer than k items are padded with item 0 and score -inf.

    Args:
        score: computes the scores of a block of queries.
        num_queries: Q.
        num_items: I.
        k: length of the lists.
        excluded: items that are left out of a query's list.
        device: the device of the scores.
        max_scores: as in ``rank_targets``.
    """
    device = torch.device(device)
    items, values = [torch.zeros((0, k), dtype=torch.int64, device=device)], [torch.zeros((0, k), device=device)]
    for rows, pairs in _blocks(num_queries, num_items, excluded, device, max_scores):
        best, best_scores = _top(_leave_out(score(rows), pairs), k)
        items.append(best)
        values.append(best_scores.float())
    return torch.cat(items), torch.cat(values)


def rank_first(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of candidates above the first of each row, and of others equal to it: (Q,), (Q,) int64.

    Args:
        scores: (Q, 1 + n), the target's score first.
    """
    target, others = scores[:, :1], scores[:, 1:]
    return (~(others <= target)).sum(1), (others == target).sum(1)


def default_max_scores(device: torch.device) -> int:
    """Return how many scores are held at once: 128 MiB of float32 on the host, 1 GiB on a GPU."""
    return 2**25 if device.type == "cpu" else 2**28


def _blocks(
    num_queries: int, num_items: int, pairs: Pairs | None, device: torch.device, max_scores: int | None
) -> Iterator[tuple[slice, Pairs | None]]:
    """Yield blocks of queries, each with its pairs, whose queries are numbered within the block."""
    size = max(1, (default_max_scores(device) if max_scores is None else max_scores) // num_items)
    edges = [*range(0, num_queries, size), num_queries]
    starts = [0] * len(edges) if pairs is None else pairs.starts(torch.tensor(edges, device=device)).tolist()
    for index in range(len(edges) - 1):
        first, last = edges[index], edges[index + 1]
        part = slice(starts[index], starts[index + 1])
        inside = None if pairs is None else Pairs(pairs.queries[part] - first, pairs.items[part])
        yield slice(first, last), inside


def _count(scores: Tensor, aims: Tensor, excluded: Pairs | None) -> tuple[Tensor, Tensor]:
    """Return the numbers of items above the targets' scores ``aims`` (n, 1), and of other items equal to them."""
    not_above, equal = _add_up(torch.le, scores, aims), _add_up(torch.eq, scores, aims)
    aims = aims[:, 0]
    undefined = aims.isnan()
    greater = scores.shape[1] - not_above - undefined.long()
    equal = equal - (~undefined).long()
    if excluded is not None:
        values, aims = scores[excluded.queries, excluded.items - 1], aims[excluded.queries]
        greater.index_add_(0, excluded.queries, -(~(values <= aims)).long())
        equal.index_add_(0, excluded.queries, -(values == aims).long())
    return greater, equal


def _add_up(compare: Callable[..., Tensor], scores: Tensor, aims: Tensor) -> Tensor:
    """Return how often a comparison holds in each row, (n,) int64.

    Summing booleans costs five times as much (they are cast to int64 one by one), so the comparison writes floats.
    """
    found = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    for part in scores.split(_EXACT, 1):
        held = compare(part, aims, out=torch.empty(part.shape, dtype=torch.float32, device=part.device))
        found += held.sum(1).long()
    return found


def _leave_out(scores: Tensor, excluded: Pairs | None) -> Tensor:
    if excluded is None or not len(excluded.items):
        return scores
    # Not in place: the scores may be a view of the network's own tensors.
    return scores.index_put((excluded.queries, excluded.items - 1), scores.new_tensor(-torch.inf))


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the best items (n, k), padded with 0, and their scores; with equal scores the lower number first."""
    wide = min(k + 1, scores.shape[1])
    values, places = scores.topk(wide, dim=1)
    if bool(values[:, 0].isnan().any()):  # topk treats NaN as the highest value
        scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        values, places = scores.topk(wide, dim=1)
    if wide > k:
        last = values[:, k - 1 : k]
        tied = (last == values[:, k:])[:, 0].nonzero()[:, 0]
        places = places[:, :k]
        if len(tied):  # topk chooses arbitrarily among the scores equal to the last one
            places[tied] = _first_of_equal(scores[tied], last[tied], k)
    places = places.sort(dim=1).values
    values, order = scores.gather(1, places).sort(dim=1, descending=True, stable=True)
    items = (places.gather(1, order) + 1).masked_fill(values == -torch.inf, 0)
    missing = (0, k - items.shape[1])
    return torch.nn.functional.pad(items, missing), torch.nn.functional.pad(values, missing, value=-torch.inf)


def _first_of_equal(scores: Tensor, last: Tensor, k: int) -> Tensor:
    """Return the indices (n, k) of all scores above ``last`` (n, 1), then of the first ones equal to it."""
    above, equal = scores > last, scores == last
    wanted = k - above.sum(1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= wanted))
    return chosen.nonzero()[:, 1].view(-1, k)
