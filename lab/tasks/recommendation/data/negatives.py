"""Draws negatives: items that a sequence does not contain. Exact, vectorised, the same in any batch, worker or rank.

Every item has an integer mass: 1 (uniform), or in proportion to ``support ** alpha``. The masses form a line; a
sequence's own items are cut out of it; a point is drawn on the rest, and two binary searches find its item. There is no
rejection sampling, so a draw costs the same whatever the sequence contains. The result is a function of (seed, epoch,
row, position, number) only: the point is a hash of them (splitmix64, Steele et al., OOPSLA 2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lab.checking import check_range
from lab.errors import DataError
from lab.ops.hashing import Int64Array, uniform

_FINEST = 1 << 40  # the largest sum of masses; float64 is exact for integers up to 2**53


class NegativeSampler:
    """Draws items that a sequence does not contain.

    For a sequence that contains every item (of positive mass) all items can be drawn.

    Args:
        items: (E,) integers, the items (1 to I) of all sequences one after the other; an item may occur twice.
        offsets: (S + 1,) integers: sequence s holds ``items[offsets[s]:offsets[s + 1]]``.
        num_items: I.
        seed: chooses another set of draws.
        alpha: draw in proportion to ``item_counts ** alpha``; 0 draws uniformly.
        item_counts: how often each item occurs in the training data (I numbers); needed if ``alpha`` is not 0. An item
            with count 0 is then never drawn.

    Raises:
        ConfigError: ``alpha`` is negative.
        DataError: an item is outside of 1 to I, or counts are missing or all zero.
    """

    def __init__(
        self,
        items: npt.ArrayLike,
        offsets: npt.ArrayLike,
        num_items: int,
        seed: int = 0,
        alpha: float = 0.0,
        item_counts: Sequence[int] | None = None,
    ) -> None:
        held, starts = np.asarray(items, dtype=np.int64), np.asarray(offsets, dtype=np.int64)
        if num_items < 1 or (held.size and not 1 <= held.min() <= held.max() <= num_items):
            raise DataError(f"negatives: items must be numbers from 1 to num_items={num_items}")
        num_rows = len(starts) - 1
        self.num_items, self.seed = num_items, seed
        mass = _masses(num_items, alpha, item_counts, num_rows)
        self._ends = np.cumsum(mass)  # where items 1, 2, ... end on the line of masses
        total = int(self._ends[-1])
        rows = np.repeat(np.arange(num_rows), np.diff(starts))
        rows, held = _unique_pairs(rows, held[starts[0] : starts[-1]], num_items)
        left = total - np.bincount(rows, mass[held - 1], num_rows).astype(np.int64)
        if (left == 0).any():
            keep = left[rows] > 0
            rows, held = rows[keep], held[keep]
            left[left == 0] = total
        own = mass[held - 1]
        before = np.concatenate([[0], np.cumsum(own)])
        self._starts = np.searchsorted(rows, np.arange(num_rows + 1))
        self._before = before  # cumulative mass of the items of all sequences
        self._stride, self._left = total + 1, left
        # For each item of a sequence: the position on its shortened line (own items cut out) where it was cut.
        gaps = self._ends[held - 1] - own - (before[:-1] - before[self._starts[rows]])
        self._keys = rows * self._stride + gaps

    def draw_negatives(self, rows: npt.ArrayLike, positions: npt.ArrayLike, epoch: int, count: int) -> Int64Array:
        """Draw, with replacement, items that the sequences do not contain.

        Args:
            rows: (N,) integers, the numbers of the sequences (0 to S - 1).
            positions: (N,) integers from 0, the position of each draw in its sequence. Equal (epoch, row, position)
                give the same items.
            epoch: from 0; evaluation always uses the same one.
            count: n, the number of items for each position.

        Returns:
            (N, n) int64 item numbers, 1 to I.
        """
        row = np.asarray(rows, dtype=np.int64)
        noise = uniform(self.seed, epoch, row, np.asarray(positions, dtype=np.int64), count)
        points = (noise * self._left[row][:, None]).astype(np.int64)
        place = np.searchsorted(self._keys, row[:, None] * self._stride + points, side="right")
        points += self._before[place] - self._before[self._starts[row]][:, None]
        return np.searchsorted(self._ends, points, side="right").astype(np.int64) + 1


def _masses(num_items: int, alpha: float, item_counts: Sequence[int] | None, num_rows: int) -> Int64Array:
    """Return the mass of each item; sums are small enough that ``row * sum`` fits into 63 bits."""
    check_range("negatives: alpha", alpha, least=0)
    if alpha == 0:
        return np.ones(num_items, dtype=np.int64)
    counts = np.zeros(0) if item_counts is None else np.asarray(item_counts, dtype=np.float64)
    if counts.shape != (num_items,) or not counts.any():
        raise DataError(f"negatives: alpha={alpha} needs the counts of all {num_items} items")
    weights = np.where(counts > 0, np.maximum(counts, 1e-300) ** alpha, 0.0)
    finest = min(_FINEST, (1 << 61) // max(1, num_rows))
    masses = np.rint(weights * (finest / weights.sum())).astype(np.int64)
    return np.where(counts > 0, np.maximum(masses, 1), 0)


def _unique_pairs(rows: Int64Array, items: Int64Array, num_items: int) -> tuple[Int64Array, Int64Array]:
    """Return the different (row, item) pairs, sorted."""
    pairs = np.unique(rows * (num_items + 1) + items)
    return pairs // (num_items + 1), pairs % (num_items + 1)
