"""A recommender whose scores are whole numbers, with many ties, and sequences to ask it about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lab.registry import allow_package
from lab.structures import RecommendationSpec, SequenceBatch, SequenceTargets, Term
from lab.tasks.recommendation.task import RecommendationTask

allow_package("tests")

NUM_ITEMS = 12
ITEM_COUNTS = (9, 0, 3, 7, 1, 30, 120, 2, 5, 0, 4, 6)
EVAL: dict[str, Any] = {
    "name": "ranking",
    "protocol": "full",
    "also": None,
    "ks": [1, 3, 5],
    "monitor": None,
    "ties": "standard",
    "exclude_seen": False,
    "exclude_train": False,
    "num_negatives": 6,
    "distribution": "uniform",
    "seed": 0,
    "max_sequences": None,
    "top_k": 4,
}


class Sums(nn.Module):
    """Scores item j by the number of events i with (i * j) mod 5 < 2, and a fraction of the last event's product."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        numbers = torch.arange(num_items + 1)
        table = ((numbers[:, None] * numbers) % 5 < 2).float()
        self.table = nn.Parameter(table)
        self.last = nn.Parameter((numbers[:, None] * numbers) % 3 / 2.0)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the scores (Q, I) of the places with targets."""
        return self.score(self.encode(batch, batch.targets.items.nonzero()), slice(1, len(self.table)))

    def totals(self, targets: SequenceTargets) -> Mapping[str, float]:
        """Return the number of targets."""
        return {"targets": float(sum(targets.counts))}

    def loss(self, outputs: Tensor, targets: SequenceTargets) -> dict[str, Term]:
        """Return the cross-entropy of all targets."""
        true = targets.items[targets.items > 0] - 1
        total = nn.functional.cross_entropy(outputs, true, reduction="sum")
        return {"loss_ce": Term(total, "targets")}

    def encode(self, batch: SequenceBatch, queries: Tensor) -> Tensor:
        """Return the scores of all items, with a column for none: this net knows no better."""
        known = torch.arange(batch.items.shape[1]) <= queries[:, 1:]
        events = batch.items[queries[:, 0]]
        return (self.table[events] * (known & (events > 0))[..., None]).sum(1) + self.last[
            batch.items[queries[:, 0], queries[:, 1]]
        ]

    def score(self, states: Tensor, items: slice | Tensor) -> Tensor:
        """Pick the scores of some items."""
        return states[:, items] if isinstance(items, slice) else states.gather(1, items)


SUMS = {"_target_": "tests.unit.tasks.recommendation.recommenders.Sums"}


def make_task(net: dict[str, Any] = SUMS, **changes: Any) -> RecommendationTask:
    """Return a task with changed settings of the evaluation."""
    spec = RecommendationSpec(
        item_names=tuple(f"i{number}" for number in range(1, NUM_ITEMS + 1)),
        item_counts=ITEM_COUNTS,
        num_sequences=20,
        num_events=sum(ITEM_COUNTS),
    )
    optimizer = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "no_decay_norm_bias": True, "groups": []}
    optimizer |= {"momentum": 0.0, "nesterov": False}
    schedule = {"name": "constant", "warmup_steps": 0}
    return RecommendationTask(net, spec.to_plain(), optimizer, schedule, 10, {**EVAL, **changes}).eval()


def history_of(number: int) -> tuple[list[int], list[int], int]:
    """Return what a sequence had before what is shown of it, what is shown, and what follows."""
    generator = torch.Generator().manual_seed(number)
    items = torch.randint(1, NUM_ITEMS + 1, (3 + number % 6,), generator=generator).tolist()
    return items[:2], items[2:-1] or items[1:2], items[-1]


def make_batch(numbers: Sequence[int], valid: bool = True, every: bool = False) -> SequenceBatch:
    """Return the sequences of these numbers, asked for their last item, or for every shown one but the first."""
    before, shown, last = zip(*(history_of(number) for number in numbers), strict=True)
    width = max(map(len, shown))
    items = torch.tensor([[*row, *[0] * (width - len(row))] for row in shown])
    lengths = torch.tensor([len(row) for row in shown])
    targets = torch.zeros_like(items)
    if every:
        targets[:, :-1] = items[:, 1:]
    targets[torch.arange(len(items)), lengths - 1] = torch.tensor(last)
    seen = [[*first, *(row if len(row) + len(first) > 2 else [])] for first, row in zip(before, shown, strict=True)]
    return SequenceBatch(
        items=items,
        lengths=lengths,
        targets=SequenceTargets(targets, tuple((targets > 0).sum(1).tolist())),
        sequence_ids=torch.tensor(list(numbers)),
        valid=torch.full((len(items),), valid),
        seen=torch.tensor([item for row in seen for item in row]),
        seen_counts=tuple(map(len, seen)),
    )
