"""Sequences of items in compact storage, and the datasets that gather whole batches from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.structures import SequenceBatch, SequenceTargets
from lab.tasks.recommendation.data.events import Events, Ints
from lab.tasks.recommendation.data.negatives import NegativeSampler


@dataclass
class Sequences:
    """S sequences of item numbers, one after the other.

    Attributes:
        items: (E,) int64, 1 to I.
        offsets: (S + 1,) int64, where each sequence begins.
        names: the id of each sequence in the data files.
    """

    items: Ints
    offsets: Ints
    names: NDArray[np.object_]

    def __len__(self) -> int:
        """Return S."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """(S,) events of each sequence."""
        return np.diff(self.offsets)

    @classmethod
    def of_events(cls, events: Events, numbers: Ints) -> Sequences:
        """Make sequences from events ordered by session and time, with new item numbers.

        Args:
            events: the events of whole sessions.
            numbers: the new number (from 1) of each item index of the events.
        """
        present, starts = np.unique(events.sessions, return_index=True)
        offsets = np.append(starts, len(events)).astype(np.int64)
        return cls(numbers[events.items], offsets, events.session_names[present])


@dataclass(frozen=True)
class RowPlace:
    """A reference to a row of a dataset; ``gather`` makes batches of them."""

    dataset: SequenceDataset
    epoch: int
    index: int


class SequenceDataset:
    """Windows of sequences: the events that a network reads, and which positions have a target.

    Row r reads ``items[begin[r]:stop[r]]``. The positions from ``first[r]`` to ``last[r]`` (excluded), both counted
    from ``begin[r]``, have a target: the item that follows.

    Args:
        sequences: the data.
        rows: (R, 4) int64 begin, stop, first, last of each row.
        owners: (R,) int64 the sequence of each row.
        negatives: draws items that a sequence does not contain, for the loss; None for none.
        num_negatives: the number of negatives for each position.
        seen: whether batches have ``seen``: the items of each sequence up to its first query, oldest first.
        fingerprint: identifies the content.
    """

    def __init__(
        self,
        sequences: Sequences,
        rows: Ints,
        owners: Ints,
        negatives: NegativeSampler | None = None,
        num_negatives: int = 0,
        seen: bool = False,
        fingerprint: str = "",
    ) -> None:
        self.sequences, self.rows, self.owners = sequences, rows, owners
        self.negatives, self.num_negatives, self.seen = negatives, num_negatives, seen
        self._fingerprint = fingerprint
        self.left_out: dict[str, int] = {}
        self.noted: dict[str, int] = {}

    def __len__(self) -> int:
        """Return R."""
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> RowPlace:
        """Return a reference to a row; ``gather`` reads the rows of a batch at once."""
        return RowPlace(self, *key)

    @property
    def aspect_ratios(self) -> None:
        """None: sequences are not grouped by length."""
        return

    @property
    def sequence_names(self) -> Sequence[str]:
        """The id of each row's sequence in the data files."""
        return [str(name) for name in self.sequences.names[self.owners]]

    def fingerprint(self) -> str:
        """Return a string that identifies the content."""
        return self._fingerprint

    def gather(self, epochs: Ints, indices: Ints) -> SequenceBatch:
        """Return the batch of some rows.

        Args:
            epochs: (B,) the epoch of each row; negatives depend on it.
            indices: (B,) numbers of the rows.
        """
        begin, stop, first, last = self.rows[indices].T
        lengths = stop - begin
        columns = np.arange(int(lengths.max()))
        places = begin[:, None] + columns
        inside = columns < lengths[:, None]
        asked = (columns >= first[:, None]) & (columns < last[:, None])
        source = self.sequences.items
        items = np.where(inside, source[np.minimum(places, len(source) - 1)], 0)
        following = np.where(asked, source[np.minimum(places + 1, len(source) - 1)], 0)
        owners = self.owners[indices]
        seen, seen_counts = self._seen(begin + first + 1, owners)
        return SequenceBatch(
            items=torch.from_numpy(items),
            lengths=torch.from_numpy(lengths),
            targets=SequenceTargets(
                torch.from_numpy(following), tuple(asked.sum(1).tolist()), self._draw(epochs, begin, owners, asked)
            ),
            sequence_ids=torch.from_numpy(owners.copy()),
            valid=torch.ones(len(indices), dtype=torch.bool),
            seen=seen,
            seen_counts=seen_counts,
        )

    def _seen(self, ends: Ints, owners: Ints) -> tuple[Tensor | None, tuple[int, ...]]:
        """Return the items of each sequence up to and including the event of the row's first query."""
        if not self.seen:
            return None, ()
        starts = self.sequences.offsets[owners]
        counts = ends - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return torch.from_numpy(self.sequences.items[np.repeat(starts, counts) + within]), tuple(counts.tolist())

    def _draw(self, epochs: Ints, begin: Ints, owners: Ints, asked: NDArray[np.bool_]) -> Tensor | None:
        if self.negatives is None or not self.num_negatives:
            return None
        drawn = np.zeros((*asked.shape, self.num_negatives), dtype=np.int64)
        rows, columns = np.nonzero(asked)
        positions = begin[rows] - self.sequences.offsets[owners[rows]] + columns
        for epoch in np.unique(epochs):  # one epoch, or two at the end of one
            mine = epochs[rows] == epoch
            drawn[rows[mine], columns[mine]] = self.negatives.draw_negatives(
                owners[rows[mine]], positions[mine], int(epoch), self.num_negatives
            )
        return torch.from_numpy(drawn)


def gather(places: Sequence[RowPlace]) -> SequenceBatch:
    """Put rows of one dataset together into a batch."""
    epochs, indices = np.array([(place.epoch, place.index) for place in places], dtype=np.int64).T
    return places[0].dataset.gather(epochs, indices)


def last_windows(sequences: Sequences, max_length: int | None, drop_last: int = 0) -> tuple[Ints, Ints]:
    """Return rows (see ``SequenceDataset``) for training: the last window of each sequence, with a target everywhere.

    Args:
        sequences: sequences with fewer than two events are left out.
        max_length: the most events that are read; None for all.
        drop_last: events at the end of each sequence that are kept for evaluation.
    """
    stop = sequences.offsets[1:] - drop_last
    begin = sequences.offsets[:-1]
    reads = stop - begin - 1
    owners = np.flatnonzero(reads > 0)
    stop, begin = stop[owners] - 1, begin[owners]
    if max_length is not None:
        begin = np.maximum(begin, stop - max_length)
    zeros = np.zeros_like(begin)
    return np.stack([begin, stop, zeros, stop - begin], axis=1), owners


def all_windows(sequences: Sequences, max_length: int | None) -> tuple[Ints, Ints]:
    """Return rows for training: consecutive windows in which every next item is a target exactly once.

    The last window of a sequence is that of ``last_windows``; the first one may be shorter than the others.
    """
    rows, owners = last_windows(sequences, None)
    if max_length is None or not len(owners):
        return rows, owners
    begin, stop = rows[:, 0], rows[:, 1]
    counts = -(-(stop - begin) // max_length)
    owner = np.repeat(np.arange(len(owners)), counts)
    later = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(owner))  # windows of the sequence after this one
    ends = stop[owner] - later * max_length
    starts = np.maximum(begin[owner], ends - max_length)
    zeros = np.zeros_like(starts)
    return np.stack([starts, ends, zeros, ends - starts], axis=1), owners[owner]


def query_windows(sequences: Sequences, max_length: int | None) -> tuple[Ints, Ints]:
    """Return rows for evaluation: every next item is predicted exactly once.

    A sequence longer than ``max_length`` is read in windows that overlap by half, so that each query reads at least
    half of ``max_length`` events, or all that precede it.
    """
    begin, stop = sequences.offsets[:-1], sequences.offsets[1:] - 1
    owners = np.flatnonzero(stop > begin)
    begin, stop = begin[owners], stop[owners]
    if max_length is None or not len(owners) or (stop - begin).max() <= max_length:
        return np.stack([begin, stop, np.zeros_like(begin), stop - begin], axis=1), owners
    step = max(1, max_length // 2)
    more = np.maximum(0, -(-(stop - begin - max_length) // step))
    owner = np.repeat(np.arange(len(owners)), more + 1)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(more + 1) - more - 1, more + 1)
    starts = begin[owner] + number * step
    ends = np.minimum(stop[owner], starts + max_length)
    first = np.where(number == 0, 0, max_length - step)
    return np.stack([starts, ends, first, ends - starts], axis=1), owners[owner]


def last_queries(sequences: Sequences, owners: Ints, max_length: int | None, drop_last: int) -> Ints:
    """Return rows for leave-one-out evaluation: the last event is predicted from all events before it.

    Args:
        sequences: the data.
        owners: the sequences to evaluate.
        max_length: the most events that are read.
        drop_last: the number of events at the end that come after the predicted one.
    """
    stop = sequences.offsets[1:][owners] - drop_last - 1
    begin = sequences.offsets[:-1][owners]
    if max_length is not None:
        begin = np.maximum(begin, stop - max_length)
    return np.stack([begin, stop, stop - begin - 1, stop - begin], axis=1)


def whole_prefixes(sequences: Sequences, max_length: int | None) -> Ints:
    """Return rows for prediction: the last events are read, and there are no targets."""
    begin, stop = sequences.offsets[:-1], sequences.offsets[1:]
    if max_length is not None:
        begin = np.maximum(begin, stop - max_length)
    zeros = np.zeros_like(begin)
    return np.stack([begin, stop, zeros, zeros], axis=1)
