"""The head of a language model: logits by the embeddings of the tokens, and how well they predict labels.

Names: N states, C their width, V rows of the embeddings. Under tensor parallelism a rank has the embeddings and the
logits of its part of the vocabulary only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.checkpoint.access import is_dtensor
from lab.layers.cross_entropy import cross_entropy_in_parts, pays
from lab.layers.linear import linear
from lab.layers.tensor_parallel.cross_entropy import (
    argmax,
    is_most_probable,
    log_probability,
    vocab_parallel_cross_entropy,
)
from lab.layers.tensor_parallel.groups import RankGroup
from lab.layers.tensor_parallel.layers import TensorParallel
from lab.layers.tensor_parallel.mappings import copy_to_tensor_region, gather_from_tensor_region


@dataclass(frozen=True)
class OwnLogits:
    """The logits of the next tokens for this rank's part of the vocabulary; -inf where a row stands for no token.

    Attributes:
        values: (B, V / ranks).
        vocab_size: V.
        group: the ranks; None: there is one.
    """

    values: Tensor
    vocab_size: int
    group: RankGroup | None

    def whole(self) -> Tensor:
        """Return the logits (B, V) of all ranks."""
        return gather_from_tensor_region(self.values, self.group)[:, : self.vocab_size]

    def greatest(self) -> Tensor:
        """Return the most probable tokens (B,)."""
        return argmax(self.values, self.group)

    def log_probability(self, tokens: Tensor) -> Tensor:
        """Return the logarithms (B,) of the probabilities of tokens (B,)."""
        return log_probability(self.values, tokens, self.group)


class TiedHead(TensorParallel):
    """Inner products with the embeddings of the tokens, which are passed in."""

    def logits(self, states: Tensor, weight: Tensor) -> Tensor:
        """Return (..., V) for states (..., C) and embeddings (V, C)."""
        return gather_from_tensor_region(self.own_logits(states, weight), self.group)

    def own_logits(self, states: Tensor, weight: Tensor) -> Tensor:
        """Return the logits of this rank's part of the vocabulary, (..., V / ranks)."""
        own: Any = weight
        if self.group is not None and is_dtensor(weight):  # split by torch's styles
            own = own.to_local(grad_placements=own.placements)
        return linear(copy_to_tensor_region(states, self.group), own)

    def next_logits(self, states: Tensor, weight: Tensor, vocab_size: int) -> OwnLogits:
        """Return the logits behind states (B, C); rows of ``weight`` from ``vocab_size`` on stand for no token."""
        values, group = self.own_logits(states, weight), self.group
        first = 0 if group is None else group.rank * values.shape[-1]
        used = max(0, vocab_size - first)
        if group is None:
            values = values[:, :used]
        elif used < values.shape[-1]:
            values[:, used:] = -torch.inf
        return OwnLogits(values, vocab_size, group)

    def scores(self, states: Tensor, weight: Tensor, labels: Tensor, ranked: bool) -> tuple[Tensor, Tensor | None]:
        """Return the cross-entropy of labels, and whether they are the most probable tokens.

        Args:
            states: (N, C).
            weight: (V, C).
            labels: (N,).
            ranked: whether the second result is wanted.

        Returns:
            (N,) float32, and (N,) bool or None.
        """
        if self.group is None and not is_dtensor(weight) and pays(len(states), weight):
            losses, found = cross_entropy_in_parts(states, weight, labels, ranked)
            return losses, found if ranked else None
        logits = self.own_logits(states, weight)
        correct = is_most_probable(logits, labels, self.group) if ranked else None
        return vocab_parallel_cross_entropy(logits, labels, self.group), correct
