"""The most popular items, the same for everybody."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.models.baselines.memory import Memory
from lab.registry.models import register_model
from lab.structures import SequenceBatch


class Popularity(Memory):
    """Rank items by how often they occur in the training data.

    Args:
        num_items: I.
    """

    counts: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.num_items = num_items
        self.register_buffer("counts", torch.zeros(num_items + 1))

    def memorize(self, items: Tensor, offsets: Tensor) -> None:
        """Count the items (E,) of all sequences; see ``Memory``."""
        self.counts.copy_(torch.bincount(items.flatten(), minlength=self.num_items + 1))

    def encode(self, batch: SequenceBatch, queries: Tensor) -> Tensor:
        """Return (Q, 0): scores do not depend on the query."""
        return self.counts.new_zeros(len(queries), 0)

    def score(self, states: Tensor, items: slice | Tensor) -> Tensor:
        """Return the counts (Q, n) of a slice of the items, or of items (Q, n) each."""
        chosen = self.counts[items]
        return chosen.expand(len(states), -1) if isinstance(items, slice) else chosen


@register_model
def popularity(num_items: int) -> Popularity:
    """Build a ranking by popularity."""
    return Popularity(num_items)
