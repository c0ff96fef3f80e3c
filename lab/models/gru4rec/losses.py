"""GRU4Rec's losses, summed over the lanes of a batch.

Cross-entropy and BPR-max: Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based
Recommendations", CIKM 2018, sections 3.2 and 3.3, with the additions of the authors' code (logq, ELU, small constants).
BPR and TOP1: Hidasi et al., ICLR 2016, section 3.2; TOP1-max: CIKM 2018, section 3.3.

Each lane's next item is compared with all candidates of the step: the next items of the other lanes and the negatives.
An item that is drawn twice counts twice; the next item may be drawn too. Each item has one column with a weight (how
often it is a candidate), so sums over candidates are weighted sums over columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.precision import full_precision, without_autocast
from lab.structures import LaneTargets

TINY = 1e-24
"""The authors' code adds this to a probability before its logarithm."""


class _LaneCrossEntropy(torch.autograd.Function):
    """Sum of ``-log(q + TINY)`` over the lanes, q the softmax at the lane's own next item."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, rows: Tensor, bias: Tensor, log_weights: Tensor, positions: Tensor, own: Tensor
    ) -> Tensor:
        shares = torch.addmm(bias + log_weights, states, rows.T).softmax(dim=1)
        # The item may be several candidates: this is the share of the one that is the lane's next item.
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
    loss: Tensor = _LaneCrossEntropy.apply(states, rows, bias, weights.log(), targets.positions, own)
    return loss


def _own_score(scores: Tensor, targets: LaneTargets) -> Tensor:
    """Return the score of each lane's next item (m, 1)."""
    return scores.gather(1, targets.positions[:, None])


def _log_weights_of_others(targets: LaneTargets, shape: torch.Size) -> Tensor:
    """Log of how often each item is a candidate beside the lane's own next item (m, C); -inf for never."""
    weights = targets.next_counts + targets.negative_counts
    others = (weights.index_select(0, targets.positions) - 1).log()
    return weights.log().expand(shape).scatter(1, targets.positions[:, None], others[:, None])


class _BPRMax(torch.autograd.Function):
    """BPR-max with its gradient in closed form, C scores of m lanes in a few passes.

    With r the scores after the ELU, s their softmax over the others, g_j = sigmoid(r_i - r_j), A = sum_j s_j g_j,
    B = A + TINY and Q = sum_j s_j r_j^2, the loss is -log B + bpreg Q, and its derivative by r_j is
    s_j (bpreg (r_j^2 + 2 r_j - Q) - g_j^2 / B + A / B), by r_i also (sum_j s_j g_j^2 - A) / B.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, rows: Tensor, bias: Tensor, targets: LaneTargets, bpreg: float, elu: float
    ) -> Tensor:
        scores = torch.addmm(bias, states, rows.T)
        if elu > 0:
            scores = F.elu_(scores, elu)
        shares = (scores + _log_weights_of_others(targets, scores.shape)).softmax(dim=1)
        wins = torch.sigmoid_(_own_score(scores, targets) - scores)
        won = (shares * wins).sum(dim=1, keepdim=True)
        squares = (shares * scores).mul_(scores).sum(dim=1, keepdim=True)
        ctx.save_for_backward(states, rows, scores, shares, wins, won, squares, targets.positions)
        ctx.bpreg, ctx.elu = bpreg, elu
        return (bpreg * squares - (won + TINY).log()).sum()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        states, rows, scores, shares, wins, won, squares, positions = ctx.saved_tensors
        total = won + TINY
        lost = (wins * wins).mul_(shares)
        gradient = (scores + 2).mul_(scores).mul_(ctx.bpreg).add_(won / total - ctx.bpreg * squares).mul_(shares)
        gradient.sub_(lost / total)
        gradient.scatter_add_(1, positions[:, None], (lost.sum(dim=1, keepdim=True) - won) / total)
        gradient.mul_(outer)
        if ctx.elu > 0:
            gradient = torch.ops.aten.elu_backward(gradient, ctx.elu, 1, 1, True, scores)
        return gradient @ rows, gradient.T @ states, gradient.sum(dim=0), None, None, None


def bpr_max(states: Tensor, rows: Tensor, bias: Tensor, targets: LaneTargets, bpreg: float, elu: float) -> Tensor:
    """``-log sum_j s_j sigmoid(r_i - r_j) + bpreg sum_j s_j r_j^2``, s the softmax of the others, r after an ELU."""
    loss: Tensor = _BPRMax.apply(states, rows, bias, targets, bpreg, elu)
    return loss


def bpr(scores: Tensor, targets: LaneTargets) -> Tensor:
    """``-sum_j log sigmoid(r_i - r_j)`` over all candidates, including the lane's own, as in the authors' code."""
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
    own = _own_score(scores, targets)
    shares = (scores + _log_weights_of_others(targets, scores.shape)).softmax(dim=1)
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
        targets: the candidates of the lanes.
        logq: argument of ``cross_entropy``.
        bpreg: argument of ``bpr_max``.
        elu: alpha of the ELU on the scores of ``bpr_max``; 0 for none.
    """
    states, rows, bias = full_precision(states), full_precision(rows), full_precision(bias)
    with without_autocast(states):
        if kind == "cross_entropy":
            return cross_entropy(states, rows, bias, targets, logq)
        if kind == "bpr_max":
            return bpr_max(states, rows, bias, targets, bpreg, elu)
        scores = torch.addmm(bias, states, rows.T)
        plain: dict[str, Callable[[Tensor, LaneTargets], Tensor]] = {"bpr": bpr, "top1": top1, "top1_max": top1_max}
        return plain[kind](scores, targets)
