"""Cross-entropy of a large vocabulary, without all logits in memory at once.

Logits of BLOOM's 250,880 tokens take a megabyte for each label. They are computed for some labels at a time, and again
in the backward pass: one product more, instead of several gigabytes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lab.layers.linear import linear

LOGITS_AT_ONCE = 1 << 26
"""Numbers: 256 MB in float32."""


def pays(num_labels: int, weight: Tensor) -> bool:
    """Whether so many labels have more logits than are computed at once."""
    return num_labels * len(weight) > LOGITS_AT_ONCE and not torch.compiler.is_compiling()


def cross_entropy_in_parts(states: Tensor, weight: Tensor, labels: Tensor, ranked: bool) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of labels, and whether they are the most probable tokens.

    Args:
        states: (N, C).
        weight: (V, C); logits are ``states @ weight.T``, and computed with in float32.
        labels: (N,) int64.
        ranked: whether the second result is wanted.

    Returns:
        (N,) float32 in nats, and (N,) bool, empty if it is not wanted.
    """
    device = states.device.type
    if device != "meta" and torch.is_autocast_enabled(device):  # torch knows none for meta
        dtype = torch.get_autocast_dtype(device)
        states, weight = states.to(dtype), weight.to(dtype)
    losses, correct = _InParts.apply(states, weight, labels, ranked)
    return losses, correct


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, ranked: bool) -> tuple[Tensor, Tensor]:
        ctx.rows = max(1, LOGITS_AT_ONCE // len(weight))
        sums, own, correct = [], [], [labels.new_empty(0, dtype=torch.bool)]
        for part, wanted in zip(states.split(ctx.rows), labels.split(ctx.rows), strict=True):
            logits = linear(part, weight).float()
            sums.append(logits.logsumexp(-1))
            own.append(logits.gather(1, wanted[:, None])[:, 0])
            if ranked:
                correct.append(logits.argmax(-1) == wanted)
        total, found = torch.cat(sums), torch.cat(correct)
        ctx.save_for_backward(states, weight, labels, total)
        ctx.mark_non_differentiable(found)
        return total - torch.cat(own), found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        states, weight, labels, total = ctx.saved_tensors
        by_states = torch.empty_like(states)
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for first in range(0, len(states), ctx.rows):
            rows = slice(first, first + ctx.rows)
            shares = linear(states[rows], weight).float().sub_(total[rows, None]).exp_()
            shares.scatter_add_(1, labels[rows, None], shares.new_full((len(shares), 1), -1.0))
            shares = shares.mul_(grad[rows, None]).to(states.dtype)
            by_states[rows] = shares @ weight
            if by_weight is not None:
                by_weight += shares.t() @ states[rows]
        return by_states, None if by_weight is None else by_weight.to(weight.dtype), None, None
