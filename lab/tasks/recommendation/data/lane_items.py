"""The distinct items of steps of session-parallel training, prepared for many steps at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AnyInts = NDArray[np.integer]


@dataclass
class Chunk:
    """The items of T consecutive steps: grids (T, B) for the lanes; the distinct items are packed step after step."""

    items: Tensor
    starts: Tensor
    slots: Tensor
    touched_slots: Tensor
    positions: Tensor
    candidates: Tensor
    next_counts: Tensor
    negative_counts: Tensor
    support: Tensor
    negative_support: Tensor
    current: Tensor
    rest: Tensor
    candidate_ends: list[int]
    current_ends: list[int]
    rest_ends: list[int]


def prepare_chunk(
    current: AnyInts,
    following: AnyInts,
    starts: NDArray[np.bool_],
    negatives: AnyInts,
    support: NDArray[np.float32],
    negative_support: NDArray[np.float32],
) -> Chunk:
    """Find the items of each of T steps, and how often each is a next item or a negative.

    Args:
        current: (T, B) the item of each lane, 0 where it has ended.
        following: (T, B) the item that comes next.
        starts: (T, B) whether a session begins.
        negatives: (T, n) item numbers.
        support: (I,) how often each item occurs in the training data.
        negative_support: (I,) the probability of being drawn is proportional to it.
    """
    current, following = current.astype(np.int64), following.astype(np.int64)
    base = np.arange(len(current))[:, None] * (len(support) + 1)  # gives the same item another number in each step
    drawn = np.concatenate([following, negatives], axis=1)
    candidates, counts, candidate_ends = _distinct(drawn + base, base)
    distinct, _, current_ends = _distinct(current + base, base)
    where = np.searchsorted(candidates, following + base)  # the result for ended lanes has no meaning
    nexts = np.bincount(where[following > 0], minlength=len(candidates))
    slots = np.searchsorted(distinct, current + base)
    places = np.searchsorted(candidates, distinct)
    absent = candidates[np.minimum(places, len(candidates) - 1)] != distinct
    of_row = np.repeat(np.arange(len(current)), np.diff(current_ends))
    rest_ends = np.concatenate([[0], np.cumsum(np.bincount(of_row[absent], minlength=len(current)))])
    places -= candidate_ends[of_row]
    places[absent] = np.diff(candidate_ends)[of_row[absent]] + np.arange(rest_ends[-1]) - rest_ends[of_row[absent]]
    rest = distinct[absent] - base[of_row[absent], 0]
    items = candidates - np.repeat(base[:, 0], np.diff(candidate_ends))
    return Chunk(
        items=torch.from_numpy(current),
        starts=torch.from_numpy(starts),
        slots=torch.from_numpy(slots - current_ends[:-1, None]),
        touched_slots=torch.from_numpy(places[np.minimum(slots, len(places) - 1)]),
        positions=torch.from_numpy(where - candidate_ends[:-1, None]),
        candidates=torch.from_numpy(items),
        next_counts=torch.from_numpy(nexts.astype(np.float32)),
        negative_counts=torch.from_numpy((counts - nexts).astype(np.float32)),
        support=torch.from_numpy(support[items - 1]),
        negative_support=torch.from_numpy(negative_support[items - 1]),
        current=torch.from_numpy(distinct - base[of_row, 0]),
        rest=torch.from_numpy(rest),
        candidate_ends=candidate_ends.tolist(),
        current_ends=current_ends.tolist(),
        rest_ends=rest_ends.tolist(),
    )


def _distinct(numbers: AnyInts, base: AnyInts) -> tuple[AnyInts, AnyInts, AnyInts]:
    """Return the distinct numbers of all rows, ascending, how often each occurs, and where each row begins.

    Args:
        numbers: (T, n); the numbers of a row are above its base, or equal to the base for "no item".
        base: (T, 1) ascending, so far apart that the numbers of different rows do not overlap.
    """
    numbers = np.sort(numbers, axis=1)
    flat = numbers.reshape(-1)
    fresh = np.empty(len(flat), dtype=np.bool_)
    fresh[0] = True
    np.not_equal(flat[1:], flat[:-1], out=fresh[1:])
    first = np.flatnonzero(fresh)
    found, counts = flat[first], np.diff(first, append=len(flat))
    real = ~np.isin(found, base, assume_unique=True, kind="sort") if (numbers[:, 0] == base[:, 0]).any() else None
    if real is not None:
        found, counts = found[real], counts[real]
    ends = np.searchsorted(found, np.append(base[:, 0], np.iinfo(np.int64).max), side="left")
    return found, counts, ends


class Draw:
    """Draws numbers 0, 1, ... in proportion to weights by inverting the cumulative sum; weight 0 is never drawn.

    A table maps many equal intervals of [0, 1) to numbers; a search is needed only in the few intervals that contain a
    boundary between two numbers.
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.bounds = np.cumsum(weights) / weights.sum()
        self.bounds[np.flatnonzero(weights)[-1] :] = 1.0
        self.size = 1 << min(22, (16 * len(weights)).bit_length())  # a power of two: products below are exact
        edges = np.searchsorted(self.bounds, np.arange(self.size + 1) / self.size, side="right")
        self.low = np.where(edges[:-1] == edges[1:], edges[:-1], -1)

    def __call__(self, uniform: NDArray[np.float64]) -> AnyInts:
        """Return for each number u in [0, 1) the first whose cumulative share is above u."""
        found = self.low[(uniform * self.size).astype(np.int64)]
        search = found < 0
        found[search] = np.searchsorted(self.bounds, uniform[search], side="right")
        return found
