"""The queries of an evaluation batch of sequences: their positions, the items before them, and their scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.structures import Movable, SequenceBatch
from lab.tasks.recommendation.ranks import Pairs


@dataclass
class Queries:
    """Q positions in a batch at which the next item is predicted.

    Attributes:
        places: (Q, 2) int64 (row, position).
        targets: (Q,) int64 the true items.
        sequences: (Q,) int64 the number of each query's sequence.
        ordinals: (Q,) int64 the number of the query within its sequence.
        valid: (Q,) bool, False for queries of a sequence that only pads the batch.
    """

    places: Tensor
    targets: Tensor
    sequences: Tensor
    ordinals: Tensor
    valid: Tensor

    @classmethod
    def of(cls, batch: SequenceBatch) -> Queries:
        """Read the queries of an evaluation batch."""
        places = batch.targets.items.nonzero()
        rows, positions = places.T
        first = torch.searchsorted(rows.contiguous(), rows.contiguous())
        ordinals = torch.arange(len(rows), device=rows.device) - first
        return cls(places, batch.targets.items[rows, positions], batch.sequence_ids[rows], ordinals, batch.valid[rows])

    @property
    def num_events(self) -> Tensor:
        """(Q,) int64: the number of events that each query may read."""
        return self.places[:, 1] + 1


def history(batch: SequenceBatch, places: Tensor, num_items: int, in_training: bool = False) -> Pairs:
    """Return the items that occurred before each query.

    Args:
        batch: sequences; ``seen`` has the items outside of their windows.
        places: (Q, 2) int64 (row, position).
        num_items: I.
        in_training: leave out the last event before each query: in a leave-one-out test it is the validation item,
            which was not trained on.
    """
    rows, positions = places.T
    queries = torch.arange(len(rows), device=rows.device)
    last = positions - 1 if in_training else positions
    shown = (torch.arange(batch.items.shape[1], device=rows.device) <= last[:, None]) & (batch.items[rows] > 0)
    asked, columns = shown.nonzero().T
    owners, items = [asked], [batch.items[rows[asked], columns]]
    if batch.seen is not None:
        counts = torch.tensor(batch.seen_counts, dtype=torch.int64, device=rows.device)
        starts = counts.cumsum(0) - counts
        counts = (counts - 1).clamp(min=0) if in_training else counts
        owner = queries.repeat_interleave(counts[rows])
        within = torch.arange(len(owner), device=rows.device) - (counts[rows].cumsum(0) - counts[rows])[owner]
        owners.append(owner)
        items.append(batch.seen[starts[rows][owner] + within])
    return Pairs.of(torch.cat(owners), torch.cat(items), num_items)


class Scorer:
    """Scores blocks of queries with a network's ``encode`` and ``score``.

    Scores are computed in the precision of the parameters: in half precision many scores of a long list would be equal.

    Args:
        net: a ``lab.structures.Recommender``.
        batch: the sequences.
        places: (Q, 2) int64 (row, position).
        num_items: I.
    """

    def __init__(self, net: Any, batch: SequenceBatch, places: Tensor, num_items: int) -> None:
        dtype = next((item.dtype for item in net.parameters() if item.is_floating_point()), None)
        states = net.encode(batch, places)
        self.net, self.num_items, self.device = net, num_items, places.device
        self.states = states if dtype is None else _map(states, lambda item: _cast(item, dtype))

    def of_block(self, rows: slice | Tensor, items: slice) -> Tensor:
        """Return the scores (n, m) of some queries for a slice of item numbers 1 to I."""
        return self._score(rows, items)

    def some_items(self, items: Tensor, max_items: int = 2**18) -> Tensor:
        """Return the scores (Q, n) of items (Q, n) each, at most ``max_items`` of them at once."""
        size = max(1, max_items // items.shape[1])
        blocks = [slice(first, first + size) for first in range(0, len(items), size)]
        return torch.cat([self._score(rows, items[rows]) for rows in blocks] or [torch.zeros(items.shape)])

    def is_finite(self, items: Tensor) -> bool:
        """Whether the scores of one item (Q,) for each query are finite."""
        return bool(self.some_items(items[:, None]).isfinite().all())

    def _score(self, rows: slice | Tensor, items: slice | Tensor) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            scores: Tensor = self.net.score(_map(self.states, lambda item: item[rows]), items)
        return scores


def _map(states: Any, apply: Callable[[Tensor], Tensor]) -> Any:
    return states._map(apply) if isinstance(states, Movable) else apply(states)


def _cast(item: Tensor, dtype: torch.dtype) -> Tensor:
    return item.to(dtype) if item.is_floating_point() else item
