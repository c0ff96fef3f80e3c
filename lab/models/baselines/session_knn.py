"""S-KNN and V-SKNN: recommend the items of similar sessions.

Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms" (UMUAI 2018), section 3.2; V-SKNN with a
weight for rare items as in "Empirical Analysis of Session-based Recommendation Algorithms" (Ludewig et al., UMUAI
2021). The neighbours of a session are found among the most recent sessions that share an item with it; a neighbour adds
its similarity to the score of its items. All queries of a batch are computed by sparse matrix products, on the host.

Names: Q queries, I items, S memorised sessions, E their events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from lab.checking import check_choice
from lab.errors import ConfigError
from lab.models.baselines.memory import Memory
from lab.ops.hashing import Int64Array
from lab.ranges import AtMost, Ge, NonNegative, OneOf, Positive
from lab.registry.arguments import build_variant
from lab.registry.models import register_model
from lab.structures import Movable, SequenceBatch

DoubleArray = npt.NDArray[np.float64]
Matrix = Any  # scipy's CSR

# The weight of the event that is `back` events before the last of `length` events.
_WEIGHTS: dict[str, Callable[[DoubleArray, DoubleArray], DoubleArray]] = {
    "same": lambda back, length: np.ones_like(back),
    "linear": lambda back, length: np.maximum(0.0, 1 - 0.1 * back),
    "div": lambda back, length: (length - back) / length,
    "log": lambda back, length: 1 / np.log10(back + 1.7),
    "quadratic": lambda back, length: ((length - back) / length) ** 2,
}
# The weight of a neighbour whose latest shared item is at that event.
_SCORE_WEIGHTS: dict[str, Callable[[DoubleArray], DoubleArray]] = {
    "same": lambda back: np.ones_like(back),
    "linear": lambda back: np.maximum(0.0, 1 - 0.1 * (back + 1)),
    "div": lambda back: 1 / (back + 1),
    "log": lambda back: 1 / np.log10(back + 2.7),
    "quadratic": lambda back: 1 / (back + 1) ** 2,
}
SIMILARITIES = ("vector", "cosine")


@dataclass
class NeighbourItems(Movable):
    """The items of each query's neighbours, with scores; all other items score 0.

    Attributes:
        items: (Q, m) int64, ascending, padded with I + 1.
        scores: (Q, m) float32, padded with 0. With ``idf_weighting`` the score of an item that has many more events
            than there are sessions is below 0.
    """

    items: Tensor
    scores: Tensor


class SessionKNN(Memory):
    """Rank items by the similarity of the sessions that contain them.

    Args:
        num_items: I.
        num_sequences: S, an upper bound on the sessions to memorise.
        num_events: E, an upper bound on their events.
        neighbors: the number of most similar sessions whose items get a score.
        sample_size: the number of candidates: the most recent sessions that share an item with the query.
        similarity: ``vector``: the mean weight of the query's distinct items that are shared; ``cosine``: the cosine of
            the two sets of items.
        weighting: weight of the query's items in ``vector``, by their position: ``same``, ``linear``, ``div``, ``log``
            or ``quadratic``.
        score_weighting: weight of a neighbour, by the position of the latest shared item in the query; the same words.
        idf_weighting: scores are multiplied by 1 + this times the logarithm of (sessions / events of the item), which
            favours rare items.

    Raises:
        ConfigError: an argument is out of range.
    """

    items: Tensor
    offsets: Tensor
    sessions: Tensor
    item_offsets: Tensor
    counts: Tensor

    def __init__(
        self,
        num_items: int,
        num_sequences: int,
        num_events: int,
        neighbors: Annotated[int, Ge(1), AtMost("sample_size")] = 500,
        sample_size: Positive = 5000,
        similarity: Annotated[str, OneOf("vector", "cosine")] = "vector",
        weighting: Annotated[str, OneOf("same", "linear", "div", "log", "quadratic")] = "quadratic",
        score_weighting: Annotated[str, OneOf("same", "linear", "div", "log", "quadratic")] = "div",
        idf_weighting: NonNegative = 5.0,
    ) -> None:
        super().__init__()
        check_choice("similarity", similarity, SIMILARITIES)
        check_choice("weighting", weighting, _WEIGHTS)
        check_choice("score_weighting", score_weighting, _SCORE_WEIGHTS)
        if not 1 <= neighbors <= sample_size:
            raise ConfigError(f"1 <= neighbors ({neighbors}) <= sample_size ({sample_size}) does not hold")
        self.num_items, self.neighbors, self.sample_size = num_items, neighbors, sample_size
        self.similarity, self.idf_weighting = similarity, idf_weighting
        self.weigh, self.weigh_score = _WEIGHTS[weighting], _SCORE_WEIGHTS[score_weighting]
        sizes = {"items": num_events, "offsets": num_sequences + 1, "sessions": num_events}
        sizes |= {"item_offsets": num_items + 2, "counts": num_items + 1}
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))

    def memorize(self, items: Tensor, offsets: Tensor) -> None:
        """Keep the distinct items of each session, and for each item its most recent sessions; see ``Memory``.

        A session that is among the ``sample_size`` most recent candidates is also among the ``sample_size`` most recent
        sessions of each item that it shares, so older sessions of an item can be dropped.
        """
        held, starts = items.cpu().numpy(), offsets.cpu().numpy()
        count = len(starts) - 1
        rows = np.repeat(np.arange(count), np.diff(starts))
        pairs = np.unique(rows * (self.num_items + 1) + held)
        rows, distinct = pairs // (self.num_items + 1), pairs % (self.num_items + 1)
        order = np.lexsort((rows, distinct))
        ends = np.searchsorted(distinct[order], np.arange(self.num_items + 1), side="right")
        recent = order[ends[distinct[order]] - np.arange(len(order)) <= self.sample_size]
        by_item = np.searchsorted(distinct[recent], np.arange(self.num_items + 2))
        values = {
            "items": distinct,
            "offsets": np.searchsorted(rows, np.arange(count + 1)),
            "sessions": rows[recent],
            "item_offsets": by_item,
            "counts": np.bincount(held, minlength=self.num_items + 1),
        }
        for name, value in values.items():
            buffer = getattr(self, name)
            buffer.fill_(int(value[-1]) if name == "offsets" else 0)
            buffer[: len(value)] = torch.from_numpy(value)

    def encode(self, batch: SequenceBatch, queries: Tensor) -> NeighbourItems:
        """Return the neighbours' items for each query; the session consists of all events up to the query."""
        rows, stops = queries[:, 0].cpu().numpy(), queries[:, 1].cpu().numpy() + 1
        keys, back, length = self._distinct_events(batch.items.cpu().numpy(), rows, stops)
        query, neighbor, similarity = self._neighbors(self._similarities(keys, back, length, len(rows)))
        scores = self._scores(keys, back, query, neighbor, similarity, len(rows))
        return self._padded(scores, queries.device)

    def score(self, states: NeighbourItems, items: slice | Tensor) -> Tensor:
        """Return the scores (Q, n) of a slice of the items, or of items (Q, n) each."""
        if isinstance(items, slice):
            first, last, _ = items.indices(self.num_items + 1)
            places = states.items - first
            places = torch.where((places >= 0) & (states.items < last), places, last - first)
            found = states.scores.new_zeros(len(states.scores), last - first + 1)
            return found.scatter_(1, places, states.scores)[:, :-1]
        if states.items.shape[1] == 0:
            return states.scores.new_zeros(items.shape)
        places = torch.searchsorted(states.items, items).clamp(max=states.items.shape[1] - 1)
        return torch.where(states.items.gather(1, places) == items, states.scores.gather(1, places), 0.0)

    def _distinct_events(
        self, items: Int64Array, rows: Int64Array, stops: Int64Array
    ) -> tuple[Int64Array, DoubleArray, DoubleArray]:
        """Return the distinct items of each query, as sorted ``query * (I + 1) + item``.

        Also return how many events before the end of the query each item occurs last, and the query's length.
        """
        query = np.repeat(np.arange(len(rows)), stops)
        place = np.arange(len(query)) - (np.cumsum(stops) - stops)[query]
        keys = query * (self.num_items + 1) + items[rows[query], place]
        keys, latest = np.unique(keys[::-1], return_index=True)
        latest = len(query) - 1 - latest
        length = stops[query[latest]].astype(np.float64)
        return keys, length - 1 - place[latest], length

    def _similarities(self, keys: Int64Array, back: DoubleArray, length: DoubleArray, count: int) -> Matrix:
        """Return the similarity (Q, S) of each query to sessions that share an item with it."""
        query, item = keys // (self.num_items + 1), keys % (self.num_items + 1)
        distinct = np.bincount(query, minlength=count)
        cosine = self.similarity == "cosine"
        weights = np.ones_like(back) if cosine else self.weigh(back, length)
        weights = weights / (distinct**0.5 if cosine else distinct)[query]
        starts = np.searchsorted(query, np.arange(count + 1))
        offsets, sessions = self.item_offsets.cpu().numpy(), self.sessions.cpu().numpy()
        num_sessions = len(self.offsets) - 1
        asked = sparse.csr_matrix((weights, item, starts), shape=(count, self.num_items + 1))
        known = sparse.csr_matrix(
            (np.ones(offsets[-1]), sessions[: offsets[-1]], offsets), shape=(self.num_items + 1, num_sessions)
        )
        found = asked @ known
        if cosine:
            found.data /= np.sqrt(np.diff(self.offsets.cpu().numpy())[found.indices])
        return found

    def _neighbors(self, similarities: Matrix) -> tuple[Int64Array, Int64Array, DoubleArray]:
        """Return query, session and similarity of the neighbours: the most similar of the most recent sessions.

        Of equally similar sessions the more recent are used.
        """
        similarities.sort_indices()
        ends = similarities.indptr[1:].astype(np.int64)
        query = np.repeat(np.arange(len(ends)), np.diff(similarities.indptr))
        recent = ends[query] - np.arange(len(query)) <= self.sample_size
        chosen = recent & (similarities.data > 0)
        query, session, similarity = query[chosen], similarities.indices[chosen], similarities.data[chosen]
        count = np.bincount(query, minlength=len(ends))
        if len(count) and count.max() > self.neighbors:
            # Equal sums of weights may differ in their last bits.
            order = np.lexsort((-session, -similarity.round(12), query))
            rank = np.arange(len(query)) - (np.cumsum(count) - count)[query]
            nearest = order[rank < self.neighbors]
            query, session, similarity = query[nearest], session[nearest], similarity[nearest]
        return query, session.astype(np.int64), similarity

    def _scores(
        self,
        keys: Int64Array,
        back: DoubleArray,
        query: Int64Array,
        session: Int64Array,
        similarity: DoubleArray,
        count: int,
    ) -> Matrix:
        """Return the score (Q, I + 1) of each item of the neighbours."""
        offsets, items = self.offsets.cpu().numpy(), self.items.cpu().numpy()
        sizes = offsets[session + 1] - offsets[session]
        starts = np.cumsum(sizes) - sizes
        pair = np.repeat(np.arange(len(session)), sizes)
        lent = items[np.arange(len(pair)) - starts[pair] + offsets[session][pair]]
        wanted = query[pair] * (self.num_items + 1) + lent
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        distance = np.where(keys[place] == wanted, back[place], np.inf)
        latest = np.minimum.reduceat(distance, starts) if len(starts) else np.zeros(0)
        values = (similarity * self.weigh_score(latest))[pair]
        if self.idf_weighting:
            counts = np.maximum(self.counts.cpu().numpy(), 1)
            remembered = max(1, np.count_nonzero(np.diff(offsets)))
            values *= 1 + self.idf_weighting * np.log(remembered / counts)[lent]
        scores = sparse.coo_matrix((values, (query[pair], lent)), shape=(count, self.num_items + 1)).tocsr()
        scores.sort_indices()
        return scores

    def _padded(self, scores: Matrix, device: torch.device) -> NeighbourItems:
        sizes = np.diff(scores.indptr)
        row = np.repeat(np.arange(len(sizes)), sizes)
        column = np.arange(len(row)) - scores.indptr[:-1][row]
        shape = (len(sizes), int(sizes.max(initial=0)))
        items, values = np.full(shape, self.num_items + 1, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        items[row, column], values[row, column] = scores.indices, scores.data
        return NeighbourItems(torch.from_numpy(items).to(device), torch.from_numpy(values).to(device))


@register_model
def session_knn(**overrides: Any) -> SessionKNN:
    """Build V-SKNN; the defaults are session-rec's settings for 100,000 clicks of RSC15."""
    return build_variant(SessionKNN, "session_knn", overrides)
