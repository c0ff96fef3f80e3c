"""Recall, MRR and NDCG of rankings with one true item per query, exact on any number of ranks.

torchmetrics' retrieval metrics are not used: they store every score of every query, loop over queries in Python, and
break ties arbitrarily. Here the state counts how often each rank of a true item occurred. Integers have the same sum on
one process and on many, in any order.

With one true item at rank r (1 is best): recall@k (also called HR@k) is 1 if r <= k; reciprocal rank @k is 1 / r, and
NDCG@k is 1 / log2(r + 1), if r <= k; else all are 0. Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR
techniques" (TOIS 2002), section 2, with the logarithm of rank + 1 as trec_eval has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lab.checking import check_choice
from lab.errors import ConfigError

TIES = ("standard", "conservative", "median")
MEASURES = ("recall", "mrr", "ndcg")


class RankingMetrics(Metric):
    """Recall@k, MRR@k and NDCG@k for several k.

    Args:
        ks: the cutoffs k.
        ties: the rank of an item among n others with the same score: ``standard`` as if it came first, ``conservative``
            as if it came last, ``median`` in the middle (1 + greater + n / 2); the names of GRU4Rec's evaluation.

    Attributes:
        counts: (G, 2K + 2) int64, K the largest k: column c counts the queries with rank c / 2 (``median`` has half
            ranks); the last column counts all worse ranks. G is 1 here.
        num_queries: after ``compute``, the number of queries in the means.

    Raises:
        ConfigError: a k below 1, or an unknown rule for ties.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    num_groups = 1

    counts: Tensor

    def __init__(self, ks: Sequence[int], ties: str = "standard") -> None:
        super().__init__()
        if not ks or min(ks) < 1:
            raise ConfigError(f"eval.ks={list(ks)}: give at least one k, each 1 or more")
        check_choice("eval.ties", ties, TIES)
        self.ks, self.ties = tuple(ks), ties
        self.num_queries = 0
        zeros = torch.zeros((self.num_groups, 2 * max(ks) + 2), dtype=torch.int64)
        self.add_state("counts", default=zeros, dist_reduce_fx="sum")

    def update(self, greater: Tensor, equal: Tensor, groups: Tensor | None = None) -> None:
        """Add queries.

        Args:
            greater: (Q,) int64 number of candidates with a higher score than the true item.
            equal: (Q,) int64 number of other candidates with the same score.
            groups: (Q,) int64, the group of each query; None for group 0.
        """
        share = {"standard": 0, "median": 1, "conservative": 2}[self.ties]
        columns = self.counts.shape[1]
        place = (2 * (greater + 1) + share * equal).clamp(max=columns - 1)
        place = place if groups is None else place + columns * groups
        self.counts.view(-1).index_add_(0, place, torch.ones_like(place))

    def compute(self) -> Any:
        """Return ``recall_k``, ``mrr_k`` and ``ndcg_k``, a dict of floats; all are NaN if there was no query."""
        counts = self.counts[0].cpu()
        self.num_queries = int(counts.sum())
        return self._measures(counts)

    def _measures(self, counts: Tensor) -> dict[str, float]:
        total = int(counts.sum())
        ranks = torch.arange(len(counts), dtype=torch.float64) / 2
        gains = {"recall": torch.ones_like(ranks), "mrr": 1 / ranks, "ndcg": 1 / torch.log2(ranks + 1)}
        shares = {name: (gain * counts)[2:-1].cumsum(0) / (total or 1) for name, gain in gains.items()}
        largest_first = sorted(self.ks, reverse=True)  # a sweep's table shows only the first three
        return {
            f"{name}_{k}": float(shares[name][2 * k - 2]) if total else math.nan
            for k in largest_first
            for name in MEASURES
        }


class GroupedRankingMetrics(RankingMetrics):
    """``RankingMetrics`` for groups of queries.

    Args:
        ks: the cutoffs k.
        num_groups: G.
        ties: as in ``RankingMetrics``.
    """

    def __init__(self, ks: Sequence[int], num_groups: int, ties: str = "standard") -> None:
        self.num_groups = num_groups
        super().__init__(ks, ties)

    def compute(self) -> list[dict[str, float]]:
        """Return the metrics of each group, and ``queries``, its number of queries."""
        return [{"queries": int(row.sum()), **self._measures(row)} for row in self.counts.cpu()]


def measure_lists(gains: Tensor, ideal: Tensor, k: int) -> dict[str, Tensor]:
    """Measure ranked lists in which several items may be relevant, as trec_eval does (its linear gain).

    Args:
        gains: (Q, n) gain of the item at each rank, best rank first; 0 where it is not relevant.
        ideal: (Q, m) the gains of all relevant items of each query, retrieved or not, padded with 0.
        k: the number of ranks that count.

    Returns:
        (Q,) float64 each: ``recall`` the share of the relevant items found, ``mrr`` one over the first relevant rank,
        ``ndcg`` against the best possible order, ``success`` whether any was found.
    """
    gains, ideal = gains[:, :k].double(), ideal.double().sort(dim=1, descending=True).values
    relevant = gains > 0
    ranks = torch.arange(1, gains.shape[1] + 1, dtype=torch.float64, device=gains.device)
    return {
        "recall": relevant.sum(1) / (ideal > 0).sum(1).clamp(min=1),
        "mrr": (relevant / ranks).amax(1),
        "ndcg": _discounted(gains) / _discounted(ideal[:, :k]).clamp(min=torch.finfo(torch.float64).tiny),
        "success": relevant.any(1).double(),
    }


def _discounted(gains: Tensor) -> Tensor:
    ranks = torch.arange(1, gains.shape[1] + 1, dtype=torch.float64, device=gains.device)
    return (gains / torch.log2(ranks + 1)).sum(1)
