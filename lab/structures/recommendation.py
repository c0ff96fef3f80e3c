"""Recommendation of the next item: batches and the protocol of recommenders.

Letters in shapes: B sequences in a batch, L events of the longest sequence, I items numbered 1 to I (0 means no item),
Q queries: positions at which the next item is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from lab.structures.common import DataSpec, Movable, OutputsT, Term, split_packed


@dataclass(frozen=True)
class RecommendationSpec(DataSpec):
    """What data for recommendation tells: its items and the size of the training data.

    Attributes:
        item_names: the id of each item in the data files; item ``i`` of a batch (1 to I) is ``item_names[i - 1]``.
        item_counts: how often each item occurs in the training data.
        num_sequences: training sequences (sessions or users).
        num_events: training events.

    Raises:
        ValueError: ``item_counts`` and ``item_names`` differ in length.
    """

    task: str = "recommendation"
    item_names: tuple[str, ...] = ()
    item_counts: tuple[int, ...] = ()
    num_sequences: int = 0
    num_events: int = 0

    def __post_init__(self) -> None:
        if self.item_counts and len(self.item_counts) != len(self.item_names):
            raise ValueError(f"spec has counts of {len(self.item_counts)} items and names of {len(self.item_names)}")

    @property
    def num_items(self) -> int:
        """I, the number of items."""
        return len(self.item_names)

    def net_arguments(self) -> dict[str, Any]:
        """Return the numbers of items, sequences and events, and the number of events of each item."""
        return {
            "num_items": self.num_items,
            "num_sequences": self.num_sequences,
            "num_events": self.num_events,
            "item_counts": list(self.item_counts),
        }

    def describe(self) -> str:
        """Return the numbers of items, sequences and events."""
        return f"{self.num_items} items, {self.num_sequences} sequences, {self.num_events} events"


@dataclass
class SequenceTargets(Movable):
    """The item to predict after each event.

    Attributes:
        items: (B, L) int64: the item to predict after each event, 0 where there is none (padding too).
        counts: the number of items to predict in each sequence; host integers.
        negatives: (B, L, n) int64 items that did not follow, 0 where ``items`` is 0; None where the loss needs none.
    """

    items: Tensor
    counts: tuple[int, ...]
    negatives: Tensor | None = None

    def rows(self, chosen: slice) -> SequenceTargets:
        """Return the targets of consecutive sequences."""
        negatives = None if self.negatives is None else self.negatives[chosen]
        return SequenceTargets(self.items[chosen], self.counts[chosen], negatives)


@dataclass
class SequenceBatch(Movable):
    """Sequences of items (sessions, or the history of users), oldest event first.

    Attributes:
        items: (B, L) int64, 1 to I, zeros at the right where a sequence is shorter.
        lengths: (B,) int64, at least 1.
        targets: what follows. In evaluation its nonzero places are the Q queries, in row-major order.
        sequence_ids: (B,) int64, the number of the sequence in its dataset.
        valid: (B,) bool, False for a sequence that only pads the batch.
        seen: (S,) int64: all items of each sequence before its first query, oldest first, packed; includes those in
            ``items`` and may repeat an item. Items between queries may be left out. None where ``items`` has
            everything.
        seen_counts: the number of entries of ``seen`` that belong to each sequence.
        totals: see ``ImageBatch``.
    """

    items: Tensor
    lengths: Tensor
    targets: SequenceTargets
    sequence_ids: Tensor
    valid: Tensor
    seen: Tensor | None = None
    seen_counts: tuple[int, ...] = ()
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.items)

    def rows(self, chosen: slice) -> SequenceBatch:
        """Return the part of the batch with some consecutive sequences."""
        seen = None if self.seen is None else self.seen[split_packed(self.seen_counts, chosen)]
        return SequenceBatch(
            items=self.items[chosen],
            lengths=self.lengths[chosen],
            targets=self.targets.rows(chosen),
            sequence_ids=self.sequence_ids[chosen],
            valid=self.valid[chosen],
            seen=seen,
            seen_counts=self.seen_counts[chosen] if self.seen is not None else (),
            totals=self.totals,
        )


@runtime_checkable
class Recommender(Protocol[OutputsT]):
    """The protocol of architectures that rank the next item. ``totals`` and ``loss`` are as in ``Detector``.

    Training batches are ``SequenceBatch``. A network with the class attribute ``batching = "lanes"`` gets ``LaneBatch``
    instead and has no loss in evaluation.
    """

    def forward(self, batch: Any) -> OutputsT:
        """Map a training batch to the architecture's own outputs."""
        ...

    def totals(self, targets: Any) -> Mapping[str, float]:
        """Return this batch's share of every normaliser of the loss, by its name."""
        ...

    def loss(self, outputs: OutputsT, targets: Any) -> Mapping[str, Term]:
        """Return named terms: weighted sums over this batch, each with the name of its normaliser."""
        ...

    def encode(self, batch: SequenceBatch, queries: Tensor) -> Any:
        """Return what ``score`` needs of each query: a tensor or a Movable of tensors, with Q as first dimension.

        Args:
            batch: sequences; the targets are not read.
            queries: (Q, 2) int64 (row, position): rank what follows the event at that position of that sequence.
        """
        ...

    def score(self, states: Any, items: slice | Tensor) -> Tensor:
        """Return the scores (Q, n) of some items; higher is better.

        Args:
            states: the result of ``encode``.
            items: ``slice(first, last)`` of item numbers 1 to I, or (Q, n) int64 item numbers for each query.
        """
        ...


@dataclass
class LaneTargets(Movable):
    """The candidates that a step of session-parallel training scores.

    The candidates are the next items of all lanes of the whole step (all ranks and micro-batches) and the negatives
    that the lanes share. Each item is listed once, with the number of times it is a candidate: a sum over candidates is
    a weighted sum over C items, and gradients of an item need not be added up.

    Attributes:
        items: (C,) int64 sorted numbers of the items that are candidates.
        next_counts: (C,) float32: the number of lanes of the whole step whose next item it is.
        negative_counts: (C,) float32: how often the item was drawn as a negative.
        support: (C,) float32: how often the item occurs in the training data.
        negative_support: (C,) float32: ``support ** alpha``; the probability of being drawn is proportional to it.
        positions: (m,) int64: the index in ``items`` of the next item of each lane of this batch.
        share: how many of the ``num_lanes`` lanes of a step belong to this batch, including lanes that have ended:
            shares of all ranks and micro-batches add up to ``data.batch_size``.
    """

    items: Tensor
    next_counts: Tensor
    negative_counts: Tensor
    support: Tensor
    negative_support: Tensor
    positions: Tensor
    share: float

    def rows(self, chosen: slice) -> LaneTargets:
        """Return the targets of some consecutive lanes."""
        positions = self.positions[chosen]
        return replace(self, positions=positions, share=self.share * len(positions) / max(1, len(self.positions)))


@dataclass
class LaneBatch(Movable):
    """One event of each of m sessions that are walked through side by side (Hidasi et al., ICLR 2016, section 3.1.1).

    Attributes:
        items: (m,) int64 the current item of each lane, 1 to I.
        lanes: (m,) int64 the number of each lane, 0 to ``num_lanes`` - 1; it selects the hidden state to continue.
        starts: (m,) bool: True where a session begins, so the hidden state of the lane is zero.
        targets: the next items.
        current: (V,) int64 sorted numbers of the items that are current in any lane of the whole step.
        slots: (m,) int64: the indices of ``items`` in ``current``.
        touched: (U,) int64: ``targets.items``, then the items of ``current`` that are not among them.
        touched_slots: (m,) int64: the indices of ``items`` in ``touched``.
        num_lanes: lanes of all ranks and micro-batches, ``data.batch_size``; fewer are active near the end of an epoch.
        totals: see ``ImageBatch``.
    """

    items: Tensor
    lanes: Tensor
    starts: Tensor
    targets: LaneTargets
    current: Tensor
    slots: Tensor
    touched: Tensor
    touched_slots: Tensor
    num_lanes: int
    totals: Mapping[str, float] | None = None

    @property
    def num_samples(self) -> int:
        """The number of lanes m."""
        return len(self.items)

    def rows(self, chosen: slice) -> LaneBatch:
        """Return the part of the batch with some consecutive lanes."""
        return replace(
            self,
            items=self.items[chosen],
            lanes=self.lanes[chosen],
            starts=self.starts[chosen],
            targets=self.targets.rows(chosen),
            slots=self.slots[chosen],
            touched_slots=self.touched_slots[chosen],
        )
