"""Exact ranks and best lists among all items, without a score of every query for every item at once.

Q queries, I items numbered 1 to I. Scores are asked for by blocks of queries. A target's score is read from the very
matrix that it is compared with: computed another way it could differ in the last bit, and equal scores would not be
seen as equal.

NaN counts as above every target, and a target of NaN as below every item: a network that has diverged is ranked last,
not first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Score = Callable[[slice], Tensor]
"""Maps some of the queries to their scores (n, I) for all items."""

_EXACT = 2**22
"""Items whose hits are added up in float32 at once: below 2**24 every sum of ones is exact."""


@dataclass(frozen=True)
class Pairs:
    """Items that belong to queries, those that a user has had for instance: sorted, each pair once.

    Attributes:
        queries: (P,) int64, ascending.
        items: (P,) int64, 1 to I, ascending within a query.
    """

    queries: Tensor
    items: Tensor

    @classmethod
    def of(cls, queries: Tensor, items: Tensor, num_items: int) -> Pairs:
        """Sort pairs (P,), (P,) in any order; an item of 0 is none, and a pair may be given twice."""
        keys = torch.unique(queries[items > 0] * (num_items + 1) + items[items > 0])
        return cls(keys // (num_items + 1), keys % (num_items + 1))

    def without(self, items: Tensor) -> Pairs:
        """Leave out one item (Q,) of each query."""
        kept = self.items != items[self.queries]
        return Pairs(self.queries[kept], self.items[kept])

    def starts(self, queries: Tensor) -> Tensor:
        """Return where the pairs of each of some queries begin."""
        return torch.searchsorted(self.queries, queries)


@dataclass(frozen=True)
class Ranking:
    """How Q targets stand among all items that may be recommended.

    Attributes:
        greater: (Q,) int64 other items with a higher score.
        equal: (Q,) int64 other items with the same score.
        top_items: (Q, k) int64 the best items, best first, of equal ones the lower number first; 0 where there are
            fewer than k.
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
        score: of blocks of queries.
        targets: (Q,) int64, 1 to I.
        num_items: I.
        excluded: items that are left out of a query's ranking; its own target never is.
        top: k, how many of the best items to return.
        max_scores: scores held at once (at least one query's); ``default_max_scores`` if None.
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
    """Return the best items (Q, k) int64, best first, of equal ones the lower number first, and their scores (Q, k).

    An item of 0 stands where there are fewer than k; its score is -inf.

    Args:
        score: of blocks of queries.
        num_queries: Q.
        num_items: I.
        k: length of the lists.
        excluded: items that are left out of a query's list.
        device: of the scores.
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
    """Return how many candidates score higher than the first of each row, and how many the same: (Q,), (Q,) int64.

    Args:
        scores: (Q, 1 + n), the target's first.
    """
    target, others = scores[:, :1], scores[:, 1:]
    return (~(others <= target)).sum(1), (others == target).sum(1)


def default_max_scores(device: torch.device) -> int:
    """Return how many scores are held at once: 128 MiB of float32 on the host, 1 GiB on a GPU."""
    return 2**25 if device.type == "cpu" else 2**28


def _blocks(
    num_queries: int, num_items: int, pairs: Pairs | None, device: torch.device, max_scores: int | None
) -> Iterator[tuple[slice, Pairs | None]]:
    """Yield blocks of queries, and the pairs of each with queries counted within it."""
    size = max(1, (default_max_scores(device) if max_scores is None else max_scores) // num_items)
    edges = [*range(0, num_queries, size), num_queries]
    starts = [0] * len(edges) if pairs is None else pairs.starts(torch.tensor(edges, device=device)).tolist()
    for index in range(len(edges) - 1):
        first, last = edges[index], edges[index + 1]
        part = slice(starts[index], starts[index + 1])
        inside = None if pairs is None else Pairs(pairs.queries[part] - first, pairs.items[part])
        yield slice(first, last), inside


def _count(scores: Tensor, aims: Tensor, excluded: Pairs | None) -> tuple[Tensor, Tensor]:
    """Return how many items are above, and how many at, the scores ``aims`` (n, 1) of the targets, themselves apart."""
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

    Adding up booleans costs five times as much (they are cast to int64 one by one), so the comparison writes floats.
    """
    found = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    for part in scores.split(_EXACT, 1):
        held = compare(part, aims, out=torch.empty(part.shape, dtype=torch.float32, device=part.device))
        found += held.sum(1).long()
    return found


def _leave_out(scores: Tensor, excluded: Pairs | None) -> Tensor:
    if excluded is None or not len(excluded.items):
        return scores
    # Not in place: the scores may be a view of what the network holds.
    return scores.index_put((excluded.queries, excluded.items - 1), scores.new_tensor(-torch.inf))


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the best items (n, k), 0 where there are fewer, and their scores; of equal ones the lower number first."""
    wide = min(k + 1, scores.shape[1])
    values, places = scores.topk(wide, dim=1)
    if bool(values[:, 0].isnan().any()):  # to topk NaN is the highest
        scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        values, places = scores.topk(wide, dim=1)
    if wide > k:
        last = values[:, k - 1 : k]
        tied = (last == values[:, k:])[:, 0].nonzero()[:, 0]
        places = places[:, :k]
        if len(tied):  # which of the equal ones at the end topk takes is left to chance
            places[tied] = _first_of_equal(scores[tied], last[tied], k)
    places = places.sort(dim=1).values
    values, order = scores.gather(1, places).sort(dim=1, descending=True, stable=True)
    items = (places.gather(1, order) + 1).masked_fill(values == -torch.inf, 0)
    missing = (0, k - items.shape[1])
    return torch.nn.functional.pad(items, missing), torch.nn.functional.pad(values, missing, value=-torch.inf)


def _first_of_equal(scores: Tensor, last: Tensor, k: int) -> Tensor:
    """Return the places (n, k) of all scores above ``last`` (n, 1), filled up with the first of those equal to it."""
    above, equal = scores > last, scores == last
    wanted = k - above.sum(1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= wanted))
    return chosen.nonzero()[:, 1].view(-1, k)
