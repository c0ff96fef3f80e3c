"""Measures which items are recommended, right or wrong: the share of all items, and their popularity.

Ge et al., "Beyond accuracy: evaluating recommender systems by coverage and serendipity" (RecSys 2010), section 3
(catalogue coverage); Abdollahpouri et al., "The unfairness of popularity bias in recommendation" (RMSE 2019), the mean
popularity of recommended items compared with that of chosen items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class Coverage(Metric):
    """Coverage and mean popularity of the best k items, exact on any number of ranks.

    Args:
        item_counts: how often each of the I items occurs in the training data.
        ks: the lengths k of the lists.

    Attributes:
        shown: (len(ks), I + 1) int64 how often each item was among the best k; column 0 counts empty places.
        chosen: (I + 1,) int64 how often each item was the true one.
    """

    is_differentiable = False
    full_state_update = False

    shown: Tensor
    chosen: Tensor

    def __init__(self, item_counts: Sequence[int], ks: Sequence[int]) -> None:
        super().__init__()
        self.ks = tuple(ks)
        self.item_counts = torch.tensor([0, *item_counts], dtype=torch.int64)
        zeros = torch.zeros((len(self.ks), len(self.item_counts)), dtype=torch.int64)
        self.add_state("shown", default=zeros, dist_reduce_fx="sum")
        self.add_state("chosen", default=zeros[0].clone(), dist_reduce_fx="sum")

    def update(self, top_items: Tensor, targets: Tensor) -> None:
        """Add queries: the best items (Q, k) int64 of each, 0 where there are fewer, and the true ones (Q,)."""
        for row, k in zip(self.shown, self.ks, strict=True):
            places = top_items[:, :k].flatten()
            row.index_add_(0, places, torch.ones_like(places))
        self.chosen.index_add_(0, targets, torch.ones_like(targets))

    def compute(self) -> dict[str, float]:
        """Return the metrics, NaN if nothing was counted.

        ``coverage_k``: the share of all items that are in any list; ``popularity_k``: how often the items of the lists
        occur in the training data, on average; ``popularity``: the same for the true items.
        """
        values = {}
        for row, k in zip(self.shown, self.ks, strict=True):
            values[f"coverage_{k}"] = float((row[1:] > 0).double().mean()) if int(row.sum()) else math.nan
            values[f"popularity_{k}"] = self._popularity(row)
        return {**values, "popularity": self._popularity(self.chosen)}

    def _popularity(self, counts: Tensor) -> float:
        total = int(counts[1:].sum())
        return int((counts[1:] * self.item_counts[1:].to(counts.device)).sum()) / total if total else math.nan
