"""Recommendation of the next item: batches and the protocol of recommenders.

B sequences in a batch, L events of the longest, I items numbered 1 to I, 0 where there is none, Q positions at which
the next item is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from lab.structures.common import DataSpec, Movable, OutputsT, Term, split_packed


@dataclass(frozen=True)
class RecommendationSpec(DataSpec):
    """What data for recommendation tells: its items, and how much there is to learn from.

    Attributes:
        item_names: the user's own id of each item; item ``i`` of a batch (1 to I) is ``item_names[i - 1]``.
        item_counts: how often each item stands in the training data.
        num_sequences: training sequences (sessions or users).
        num_events: training events.

    Raises:
        ValueError: there are counts of more or fewer items than have names.
    """

    task: str = "recommendation"
    item_names: tuple[str, ...] = ()
    item_counts: tuple[int, ...] = ()
    num_sequences: int = 0
    num_events: int = 0

    def __post_init__(self) -> None:
        if self.item_counts and len(self.item_counts) != len(self.item_names):
            raise ValueError(f"spec counts {len(self.item_counts)} items and names {len(self.item_names)}")

    @property
    def num_items(self) -> int:
        """I, the number of items."""
        return len(self.item_names)

    def net_arguments(self) -> dict[str, Any]:
        """Return the numbers of items, sequences and events, and of each item's events."""
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
    """What follows each event.

    Attributes:
        items: (B, L) int64: the item asked for after each event, 0 where none is (padding too).
        counts: how many of them each sequence has; host integers.
        negatives: (B, L, n) int64 items that did not follow, 0 where ``items`` is; None where the loss needs none.
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
        targets: what follows. In evaluation its places other than 0 are the Q queries, in row-major order.
        sequence_ids: (B,) int64, the number of the sequence in its dataset.
        valid: (B,) bool, False for a sequence that only fills up the batch.
        seen: (S,) int64: all items that each sequence has had before its first query, those that ``items`` shows too,
            oldest first, packed; an item may stand twice. What ``items`` shows between queries need not stand here.
            None where ``items`` shows everything.
        seen_counts: how many of the S belong to each sequence.
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
        """Return the part of the batch with consecutive sequences."""
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

    Training batches are ``SequenceBatch``, or what the model's ``batching`` asks of the data (``LaneBatch``); a network
    of the latter kind says so by a class attribute ``batching = "lanes"``, and has no loss in evaluation.
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
        """Return what ``score`` needs of each query: a tensor, or a Movable of tensors, whose first dimension is Q.

        Args:
            batch: sequences; its targets are not looked at.
            queries: (Q, 2) int64 (row, position): rank what follows the event at that position of that sequence.
        """
        ...

    def score(self, states: Any, items: slice | Tensor) -> Tensor:
        """Return the scores (Q, n) of some items, higher is better.

        Args:
            states: of ``encode``.
            items: ``slice(first, last)`` of item numbers 1 to I, or (Q, n) int64 item numbers for each query.
        """
        ...


@dataclass
class LaneTargets(Movable):
    """What a step of session-parallel training is scored against.

    The candidates are the next items of all lanes of the whole step (all ranks and micro-batches) and the negatives
    that the lanes share. Each item stands here once, with how often it is a candidate: a sum over candidates is a
    weighted sum over C items, and gradients of an item need not be added up.

    Attributes:
        items: (C,) int64 sorted numbers of the items that are candidates.
        next_counts: (C,) float32: how many lanes of the whole step have the item next.
        negative_counts: (C,) float32: how often the item was drawn as a negative.
        support: (C,) float32: how often it stands in the training data.
        negative_support: (C,) float32: ``support ** alpha``, to which its chance of being drawn is proportional.
        positions: (m,) int64: where the next item of each lane of this batch stands among ``items``.
        share: how many of the ``num_lanes`` lanes of a step belong to this batch, ended ones too: shares of all ranks
            and micro-batches add up to ``data.batch_size``.
    """

    items: Tensor
    next_counts: Tensor
    negative_counts: Tensor
    support: Tensor
    negative_support: Tensor
    positions: Tensor
    share: float

    def rows(self, chosen: slice) -> LaneTargets:
        """Return the targets of consecutive lanes."""
        positions = self.positions[chosen]
        return replace(self, positions=positions, share=self.share * len(positions) / max(1, len(self.positions)))


@dataclass
class LaneBatch(Movable):
    """One event of each of m sessions that are walked through side by side (Hidasi et al., ICLR 2016, section 3.1.1).

    Attributes:
        items: (m,) int64 the current item of each lane, 1 to I.
        lanes: (m,) int64 the number of each lane, 0 to ``num_lanes`` - 1: whose hidden state goes on.
        starts: (m,) bool: a session begins here, the lane's hidden state is zero.
        targets: the next items.
        current: (V,) int64 sorted numbers of the items that are current in any lane of the whole step.
        slots: (m,) int64: where ``items`` stand among ``current``.
        touched: (U,) int64: ``targets.items``, then those of ``current`` that are not among them.
        touched_slots: (m,) int64: where ``items`` stand among ``touched``.
        num_lanes: ``data.batch_size``, of all ranks and micro-batches; towards the end of an epoch fewer are alive.
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
        """Return the part of the batch with consecutive lanes."""
        return replace(
            self,
            items=self.items[chosen],
            lanes=self.lanes[chosen],
            starts=self.starts[chosen],
            targets=self.targets.rows(chosen),
            slots=self.slots[chosen],
            touched_slots=self.touched_slots[chosen],
        )
