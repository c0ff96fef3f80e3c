"""GRU4Rec's losses, summed over the lanes of a batch.

Cross-entropy and BPR-max: Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based
Recommendations", CIKM 2018, sections 3.2 and 3.3, with what the authors' code adds (logq, ELU, small constants).
BPR and TOP1: Hidasi et al., ICLR 2016, section 3.2; TOP1-max: CIKM 2018, section 3.3.

Each lane's next item is compared with all candidates of the step: the next items of the other lanes and the negatives.
Items that are drawn twice, or drawn though they are the next item, count so. An item stands in a column of its own with
a weight, how often it is a candidate, so sums over candidates are weighted sums over columns.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.precision import full_precision
from lab.structures import LaneTargets

TINY = 1e-24
"""What the authors' code adds to a probability before its logarithm."""


class _CrossEntropy(torch.autograd.Function):
    """Sum of ``-log(q + TINY)`` over the lanes, q the softmax at the lane's own next item."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, rows: Tensor, bias: Tensor, log_weights: Tensor, positions: Tensor, own: Tensor
    ) -> Tensor:
        shares = torch.addmm(bias + log_weights, states, rows.T).softmax(dim=1)
        # Of what falls to the item in all its appearances, the part of the one that is the lane's next item.
        share = shares.gather(1, positions[:, None]) * own[:, None]
        # d(-log(q + TINY)) = q / (q + TINY) d(-log q)
        ctx.save_for_backward(states, rows, shares, share / (share + TINY), positions)
        return -(share + TINY).log().sum()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        states, rows, shares, factor, positions = ctx.saved_tensors
        scale = outer * factor
        gradient = shares * scale
        gradient.scatter_add_(1, positions[:, None], -scale)
        return gradient @ rows, gradient.T @ states, gradient.sum(dim=0), None, None, None


def cross_entropy(states: Tensor, rows: Tensor, bias: Tensor, targets: LaneTargets, logq: float) -> Tensor:
    """Softmax over the candidates; with ``logq`` > 0 each logit is lowered by logq x log of its sampling frequency.

    A next item is a candidate in proportion to its support, a negative in proportion to ``support ** alpha``.
    """
    weights, own = targets.next_counts + targets.negative_counts, torch.ones_like(targets.support)
    if logq:
        own = targets.support**-logq
        weights = targets.next_counts * own + targets.negative_counts * targets.negative_support**-logq
    own = (own / weights).index_select(0, targets.positions)
    loss: Tensor = _CrossEntropy.apply(states, rows, bias, weights.log(), targets.positions, own)
    return loss


def _own_score(scores: Tensor, targets: LaneTargets) -> Tensor:
    """Return the score of each lane's next item (m, 1)."""
    return scores.gather(1, targets.positions[:, None])


def _softmax_of_others(scores: Tensor, targets: LaneTargets) -> Tensor:
    """Softmax over the candidates but the lane's own next item, an item with all its appearances (m, C)."""
    weights = targets.next_counts + targets.negative_counts
    others = (weights.index_select(0, targets.positions) - 1).log()
    log_weights = weights.log().expand(scores.shape).scatter(1, targets.positions[:, None], others[:, None])
    return torch.softmax(scores + log_weights, dim=1)


def bpr_max(scores: Tensor, targets: LaneTargets, bpreg: float, elu: float) -> Tensor:
    """``-log sum_j s_j sigmoid(r_i - r_j) + bpreg sum_j s_j r_j^2``, s the softmax of the others, r after an ELU."""
    scores = F.elu(scores, elu) if elu > 0 else scores
    own, shares = _own_score(scores, targets), _softmax_of_others(scores, targets)
    wins = (torch.sigmoid(own - scores) * shares).sum(dim=1)
    return (bpreg * (scores.square() * shares).sum(dim=1) - (wins + TINY).log()).sum()


def bpr(scores: Tensor, targets: LaneTargets) -> Tensor:
    """``-sum_j log sigmoid(r_i - r_j)`` over all candidates, the lane's own among them, as in the authors' code."""
    own, weights = _own_score(scores, targets), targets.next_counts + targets.negative_counts
    return -(F.logsigmoid(own - scores) @ weights).sum()


def top1(scores: Tensor, targets: LaneTargets) -> Tensor:
    """``mean_j(sigmoid(r_j - r_i) + sigmoid(r_j^2)) - sigmoid(r_i^2) / N`` over all N candidates."""
    own, weights = _own_score(scores, targets), targets.next_counts + targets.negative_counts
    count = weights.sum()
    terms = (torch.sigmoid(scores - own) + torch.sigmoid(scores.square())) @ weights
    return ((terms - torch.sigmoid(own.square()).squeeze(1)) / count).sum()


def top1_max(scores: Tensor, targets: LaneTargets) -> Tensor:
    """``sum_j s_j (sigmoid(r_j - r_i) + sigmoid(r_j^2))``, s the softmax of the others."""
    own, shares = _own_score(scores, targets), _softmax_of_others(scores, targets)
    return (shares * (torch.sigmoid(scores - own) + torch.sigmoid(scores.square()))).sum()


LOSSES = ("cross_entropy", "bpr_max", "bpr", "top1", "top1_max")


def lane_loss(
    kind: str,
    states: Tensor,
    rows: Tensor,
    bias: Tensor,
    targets: LaneTargets,
    logq: float = 0.0,
    bpreg: float = 1.0,
    elu: float = 0.0,
) -> Tensor:
    """Return the sum of a loss over the lanes of a batch.

    Args:
        kind: one of ``LOSSES``.
        states: (m, h).
        rows: (C, h) output embeddings of ``targets.items``.
        bias: (C,) their biases.
        targets: what the lanes are scored against.
        logq: of ``cross_entropy``.
        bpreg: of ``bpr_max``.
        elu: alpha of the ELU on the scores of ``bpr_max``; 0 for none.
    """
    states, rows, bias = full_precision(states), full_precision(rows), full_precision(bias)
    with nullcontext() if states.is_meta else torch.autocast(states.device.type, enabled=False):
        if kind == "cross_entropy":
            return cross_entropy(states, rows, bias, targets, logq)
        scores = torch.addmm(bias, states, rows.T)
        if kind == "bpr_max":
            return bpr_max(scores, targets, bpreg, elu)
        plain: dict[str, Callable[[Tensor, LaneTargets], Tensor]] = {"bpr": bpr, "top1": top1, "top1_max": top1_max}
        return plain[kind](scores, targets)
