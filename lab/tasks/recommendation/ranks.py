"""Exact ranks and top-k lists among all items, without holding the scores of all queries for all items at once.

Q queries, I items numbered 1 to I. Scores are computed for blocks of some queries and some items that fit into a core's
cache; a GPU takes all items at once. Only the target's score and the best items so far go from block to block.

A target's score is read from the same block that it is compared in: computed separately it could differ in the last
bit, and ties would be missed. Blocks before the target's need it too: they use a score that was computed for this
alone, and if any bit of it differs from the one that the block then has, these queries are counted once more.

NaN counts as above every target, and a target with NaN as below every item, so that a network that has diverged is
ranked last, not first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.ops.cpu import keep_freed_memory

Score = Callable[[slice | Tensor, slice], Tensor]
"""A function from some queries (a slice or their numbers (n,)) and a slice of item numbers to the scores (n, m)."""

_EXACT = 2**22
"""The number of items counted in float32 at once: below 2**24 every sum of ones is exact."""

_QUERIES = 256
"""The most queries in a block of a CPU: more would leave few items in it, and lists are merged for each block."""

_ALIKE = 8
"""Targets' scores are computed for so many queries at least: of one or two, products are rounded in another way."""

_GROUP = 32
"""Scores are first compared with the last one of a list in groups of so many."""


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
        max_scores: scores held at once; ``default_max_scores`` if None.
    """
    excluded = None if excluded is None else excluded.without(targets)
    greater, equal = torch.zeros_like(targets), torch.zeros_like(targets)
    best = [targets.new_zeros((0, top))]
    for tile in _tiles(len(targets), num_items, excluded, targets.device, max_scores):
        places = targets[tile.rows] - 1
        aims = tile.guess(score, places)
        for _ in range(2):
            lists = _Lists(top) if top else None
            greater[tile.rows], equal[tile.rows], seen = _pass(score, tile, places, aims, lists)
            if aims is None or _same(aims, seen):
                break
            aims = seen
        if lists is not None:
            best.append(lists.finish()[0])
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
    for tile in _tiles(num_queries, num_items, excluded, device, max_scores):
        lists = _Lists(k)
        for columns, pairs in tile.blocks():
            lists.add(_leave_out(score(tile.rows, _numbers(columns)), pairs), columns.start)
        best, best_scores = lists.finish()
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
    """Return how many scores are held at once: 2 MiB of float32 on the host, a core's cache; 1 GiB on a GPU."""
    return 2**19 if device.type == "cpu" else 2**28


@dataclass(frozen=True)
class _Tile:
    """Consecutive queries, and the blocks of items that are scored for them.

    Attributes:
        rows: the queries.
        num_items: I.
        width: the items of a block.
        pairs: what is left out, ascending by item, with queries numbered within the tile; None: nothing.
    """

    rows: slice
    num_items: int
    width: int
    pairs: Pairs | None

    def blocks(self) -> Iterator[tuple[slice, Pairs | None]]:
        """Yield blocks of items (numbered from 0), each with its pairs, whose items are numbered within it from 1."""
        edges = [*range(0, self.num_items, self.width), self.num_items]
        starts = [0] * len(edges)
        if self.pairs is not None:
            items = self.pairs.items
            starts = torch.searchsorted(items, torch.tensor(edges, device=items.device) + 1).tolist()
        for index in range(len(edges) - 1):
            inside, part = None, slice(starts[index], starts[index + 1])
            if self.pairs is not None and part.start < part.stop:
                inside = Pairs(self.pairs.queries[part], self.pairs.items[part] - edges[index])
            yield slice(edges[index], edges[index + 1]), inside

    def guess(self, score: Score, places: Tensor) -> Tensor | None:
        """Return scores (n, 1) of the items at ``places`` (n,); None if there is one block, from which they are read.

        They are computed for the queries alone whose target is in a block, and nearly always equal those of the block.
        """
        if self.width >= self.num_items:
            return None
        aims: Tensor | None = None
        homes, order = (places // self.width).sort()
        for chosen in order.split(homes.unique_consecutive(return_counts=True)[1].tolist()):
            first = int(places[chosen[0]]) // self.width * self.width
            columns = slice(first, min(first + self.width, self.num_items))
            found = score(self.rows.start + chosen.repeat(-(-_ALIKE // len(chosen))), _numbers(columns))
            aims = found.new_empty((len(places), 1)) if aims is None else aims
            aims[chosen] = found[: len(chosen)].gather(1, places[chosen, None] - first)
        return aims


def _tiles(
    num_queries: int, num_items: int, pairs: Pairs | None, device: torch.device, max_scores: int | None
) -> Iterator[_Tile]:
    """Yield the queries in parts, each with its pairs."""
    keep_freed_memory()  # each block's scores take the place of those of the one before
    most = default_max_scores(device) if max_scores is None else max_scores
    size = max(1, min(_QUERIES, num_queries, most) if device.type == "cpu" else most // num_items)
    width = max(1, min(num_items, most // size))
    edges = [*range(0, num_queries, size), num_queries]
    starts = [0] * len(edges) if pairs is None else pairs.starts(torch.tensor(edges, device=device)).tolist()
    for index in range(len(edges) - 1):
        inside, part = None, slice(starts[index], starts[index + 1])
        if pairs is not None:
            items, order = pairs.items[part].sort()
            inside = Pairs(pairs.queries[part][order] - edges[index], items)
        yield _Tile(slice(edges[index], edges[index + 1]), num_items, width, inside)


def _numbers(columns: slice) -> slice:
    return slice(columns.start + 1, columns.stop + 1)


def _pass(
    score: Score, tile: _Tile, places: Tensor, aims: Tensor | None, lists: _Lists | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers of items above and equal to the scores ``aims`` (n, 1), and the targets' scores as seen."""
    greater, equal = torch.zeros_like(places), torch.zeros_like(places)
    seen = aims
    for columns, pairs in tile.blocks():
        scores = score(tile.rows, _numbers(columns))
        if aims is None or seen is None:  # one block
            aims = seen = scores.gather(1, places[:, None])
        elif len(here := ((places >= columns.start) & (places < columns.stop)).nonzero()[:, 0]):
            seen = seen.clone() if seen is aims else seen
            seen[here] = scores[here, places[here] - columns.start][:, None]
        above, same = _count(scores, aims, pairs)
        greater += above
        equal += same
        if lists is not None:
            lists.add(_leave_out(scores, pairs), columns.start)
    if aims is None or seen is None:
        raise AssertionError("a tile has one block at least")
    undefined = aims[:, 0].isnan()
    return greater - undefined.long(), equal - (~undefined).long(), seen


def _same(left: Tensor, right: Tensor) -> bool:
    return bool(((left == right) | (left.isnan() & right.isnan())).all())


def _count(scores: Tensor, aims: Tensor, excluded: Pairs | None) -> tuple[Tensor, Tensor]:
    """Return the numbers of items above the targets' scores ``aims`` (n, 1), and of items equal to them.

    The target itself is among the first if its score is NaN, among the second if not.
    """
    not_above, equal = (_add_up(compare, scores, aims) for compare in (torch.le, torch.eq))
    greater = scores.shape[1] - not_above
    if excluded is not None:
        values, aims = scores[excluded.queries, excluded.items - 1], aims[excluded.queries, 0]
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


class _Lists:
    """The best k items of some queries, of blocks that come in ascending order of items.

    Of a later block only scores above the last one of a list can enter it: equal ones have higher numbers. They are
    collected, and merged into the lists as soon as they are as many as the lists' items.
    """

    def __init__(self, k: int) -> None:
        self.k, self.waiting = k, 0
        self.items: Tensor | None = None
        self.values = torch.empty(0)
        self.found: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, scores: Tensor, first: int) -> None:
        """Add the scores (n, m) of the items ``first`` + 1, ...; NaN and -inf are never in a list."""
        if self.items is None:
            items, self.values = _top(scores, self.k)
            self.items = torch.where(items > 0, items + first, 0)
            return
        rows, places = _above(scores, self.values[:, -1:])
        if len(rows):
            self.found.append((rows, places + first + 1, scores[rows, places]))
            self.waiting += len(rows)
        if self.waiting >= self.items.numel():
            self._merge(self.items)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return items (n, k), padded with 0, and their scores; with equal scores the lower number first."""
        if self.items is None:
            raise AssertionError("no block was added")
        if self.waiting:
            self._merge(self.items)
        return self.items, self.values

    def _merge(self, best: Tensor) -> None:
        rows, items, values = (torch.cat(parts) for parts in zip(*self.found, strict=True))
        rows, order = rows.sort(stable=True)  # items keep their order
        within = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
        wide = self.k + 1 + int(within.max())
        all_items, all_values = best.new_zeros((len(best), wide)), values.new_full((len(best), wide), -torch.inf)
        all_items[:, : self.k], all_values[:, : self.k] = best, self.values
        all_items[rows, self.k + within], all_values[rows, self.k + within] = items[order], values[order]
        all_values, order = all_values.sort(dim=1, descending=True, stable=True)
        self.items, self.values = all_items.gather(1, order[:, : self.k]), all_values[:, : self.k].contiguous()
        self.found, self.waiting = [], 0


def _above(scores: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column (P,) of the scores (n, m) above ``least`` (n, 1), row after row, columns ascending."""
    whole = scores.shape[1] // _GROUP * _GROUP
    groups = scores[:, :whole].unflatten(1, (-1, _GROUP))
    # The maximum of a group is NaN if one of it is: such a group is looked through.
    rows, numbers = (~(groups.amax(2) <= least)).nonzero().T
    hits, within = (groups[rows, numbers] > least[rows]).nonzero().T
    rest_rows, rest = (scores[:, whole:] > least).nonzero().T
    return torch.cat((rows[hits], rest_rows)), torch.cat((numbers[hits] * _GROUP + within, rest + whole))


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
