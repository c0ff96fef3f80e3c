"""Cross-entropy of logits whose vocabulary is split over ranks: three reductions of one number for each label.

Shoeybi et al., "Megatron-LM", 2019, section 3: the largest logit, the label's logit and the sum of exponentials are
reduced over the ranks, so that no rank ever holds the logits of the whole vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lab.layers.tensor_parallel.groups import RankGroup
from lab.layers.tensor_parallel.mappings import all_gather, all_reduce, is_alone


def vocab_parallel_cross_entropy(logits: Tensor, labels: Tensor, group: RankGroup | None = None) -> Tensor:
    """Return the cross-entropy (...) float32 of each label, in nats.

    Args:
        logits: (..., V / ranks), this rank's part of the vocabulary; left as they are. Half precision is computed in
            float32.
        labels: (...) int64 in 0..V-1.
        group: the ranks; None: this one has the whole vocabulary.
    """
    losses: Tensor = _CrossEntropy.apply(logits, labels, group)
    return losses


@torch.no_grad()
def is_most_probable(logits: Tensor, labels: Tensor, group: RankGroup | None = None) -> Tensor:
    """Return (...) bool, whether each label is the token of the largest logit; of equal ones the first counts.

    The arguments are those of ``vocab_parallel_cross_entropy``.
    """
    return argmax(logits, group) == labels


@torch.no_grad()
def argmax(logits: Tensor, group: RankGroup | None = None) -> Tensor:
    """Return (...) int64, the token of the largest logit; of equal ones the first. Two numbers of each rank are sent.

    Args:
        logits: (..., V / ranks), this rank's part of the vocabulary.
        group: the ranks; None: this one has the whole vocabulary.
    """
    largest, token = logits.max(-1)
    if group is None or is_alone(group):
        return token
    token = token + group.rank * logits.shape[-1]
    found = all_gather(torch.stack((largest.double(), token.double())), group)  # float64 holds any token exactly
    best = found[:, 0].argmax(0, keepdim=True)
    return found[:, 1].gather(0, best)[0].long()


@torch.no_grad()
def log_probability(logits: Tensor, tokens: Tensor, group: RankGroup | None = None) -> Tensor:
    """Return (...) float32, the logarithm of the probability of each token. Two numbers of each rank are sent.

    Args:
        logits: (..., V / ranks), this rank's part of the vocabulary.
        tokens: (...) int64 in 0..V-1.
        group: the ranks; None: this one has the whole vocabulary.
    """
    x = logits.float()
    first = 0 if group is None else group.rank * x.shape[-1]
    own = tokens - first
    elsewhere = (own < 0) | (own >= x.shape[-1])
    chosen = x.gather(-1, own.masked_fill(elsewhere, 0)[..., None])[..., 0].masked_fill(elsewhere, -torch.inf)
    sums = x.logsumexp(-1)
    if group is not None and not is_alone(group):
        found = all_gather(torch.stack((chosen, sums)), group)
        chosen, sums = found[:, 0].amax(0), found[:, 1].logsumexp(0)
    return chosen - sums


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, group: RankGroup | None) -> Tensor:
        x = logits if logits.dtype == torch.float64 else logits.float()
        largest = x.amax(-1)
        count, first = x.shape[-1], 0
        if group is not None and not is_alone(group):
            largest, first = all_reduce(largest, group, dist.ReduceOp.MAX), group.rank * count
        own = labels - first
        elsewhere = (own < 0) | (own >= count)
        own = own.masked_fill(elsewhere, 0)[..., None]
        label_logits = (x.gather(-1, own)[..., 0] - largest).masked_fill(elsewhere, 0)
        shares = (x - largest[..., None]).exp_()
        sums = shares.sum(-1)
        if group is not None and not is_alone(group):
            label_logits, sums = all_reduce(label_logits, group), all_reduce(sums, group)
        shares /= sums[..., None]
        ctx.save_for_backward(shares, own, elsewhere)
        ctx.dtype = logits.dtype
        return sums.log() - label_logits

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        shares, own, elsewhere = ctx.saved_tensors
        by_logits = shares * grad[..., None]
        by_logits.scatter_add_(-1, own, -grad.masked_fill(elsewhere, 0)[..., None])
        return by_logits.to(ctx.dtype), None, None
