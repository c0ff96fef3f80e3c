"""Losses of next-item recommendation, as sums over T positions; the caller divides.

``bce`` is SASRec's own (Kang and McAuley, ICDM 2018, section III.F). ``gbce`` is that of "gSASRec: Reducing
Overconfidence in Sequential Recommendation Trained with Negative Sampling" (Petrov and Macdonald, RecSys 2023, section
4). ``ce`` and ``sampled_ce`` are cross-entropy over all items, or over the target and its negatives ("Turning Dross
Into Gold Loss", Klenitskiy and Vasilev, RecSys 2023).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LOSSES = ("bce", "gbce", "sampled_ce", "ce")
_VALUES = 1 << 21  # logits in memory at once on a CPU: 8 MB
_VALUES_DEVICE = 1 << 27
_ROWS = 64  # of states at least, that are multiplied with a block of items


def bce(targets: Tensor, negatives: Tensor) -> Tensor:
    """Return the binary cross-entropy of targets against negatives.

    Args:
        targets: (T,) logits.
        negatives: (T, n) logits.
    """
    return F.softplus(-targets).sum() + F.softplus(negatives).sum()


def gbce(targets: Tensor, negatives: Tensor, num_items: int, calibration: float) -> Tensor:
    """Return the generalised binary cross-entropy, a mean over each target and its n negatives.

    Args:
        targets: (T,) logits.
        negatives: (T, n) logits.
        num_items: I.
        calibration: t, from 0 (binary cross-entropy) to 1 (probabilities as without sampling).
    """
    count = negatives.shape[-1]
    exponent = gbce_exponent(count, num_items, calibration)
    return (exponent * F.softplus(-targets).sum() + F.softplus(negatives).sum()) / (count + 1)


def gbce_exponent(num_negatives: int, num_items: int, calibration: float) -> float:
    """Return beta, the power of the target's probability: alpha (t (1 - 1 / alpha) + 1 / alpha)."""
    rate = num_negatives / max(1, num_items - 1)
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)


def sampled_ce(targets: Tensor, negatives: Tensor) -> Tensor:
    """Return the cross-entropy of targets (T,) among themselves and their negatives (T, n)."""
    both = torch.cat([targets[:, None], negatives], dim=1)
    return (both.logsumexp(dim=1) - targets).sum()


def ce(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of targets among all items, never holding all logits at once.

    Args:
        states: (T, D).
        weight: (I, D), a row for each item.
        targets: (T,) int64 rows of ``weight``.
    """
    total: Tensor = _ChunkedCrossEntropy.apply(states, weight, targets)
    return total


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of ``-log softmax(states @ weight.T)[targets]``, by blocks of rows and of items.

    Gradients are computed along with the value, so that the backward pass need not compute the logits again. Where the
    logits of ``_ROWS`` rows among all items are too many to be held at once, they are computed twice, by blocks of
    items: reading the items once for each few rows would take far longer.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        learning = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        budget = _VALUES if states.device.type == "cpu" else _VALUES_DEVICE
        total = torch.zeros((), device=states.device)
        grad_states, grad_weight = (torch.zeros_like(part) if learning else None for part in (states, weight))
        rows = max(_ROWS, budget // len(weight))
        width = max(1, min(len(weight), budget // rows))
        begins = range(0, len(weight), width)
        for first in range(0, len(states), rows):
            part, target = states[first : first + rows], targets[first : first + rows, None]
            partition, chosen, logits = _partition(part, weight, target, width)
            total += (partition - chosen).sum()
            if grad_states is None or grad_weight is None:
                continue
            for begin in begins:
                items = weight[begin : begin + width]
                if len(begins) > 1:
                    logits = (part @ items.T).float()
                slope = logits.sub_(partition).exp_()
                place = target - begin
                here = (place >= 0) & (place < len(items))
                slope.scatter_add_(1, place.clamp(0, len(items) - 1), here.to(slope.dtype).neg_())
                slope = slope.to(states.dtype)
                grad_states[first : first + rows].addmm_(slope, items)
                grad_weight[begin : begin + width].addmm_(slope.T, part)
        ctx.save_for_backward(grad_states, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_states, grad_weight = ctx.saved_tensors
        return grad_states * grads[0], grad_weight * grads[0], None


def _partition(states: Tensor, weight: Tensor, target: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-sum-exp over all items and the logit of the target, each (rows, 1), and the last block's logits."""
    partition = torch.full((len(states), 1), float("-inf"), device=states.device)
    for items in weight.split(width):
        logits = (states @ items.T).float()
        partition = torch.logaddexp(partition, logits.logsumexp(dim=1, keepdim=True))
    return partition, (states * weight[target[:, 0]]).sum(dim=1, keepdim=True).float(), logits
