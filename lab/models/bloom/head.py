"""The head of a language model: logits by the embeddings of the tokens, and how well they predict labels.

Names: N states, C their width, V rows of the embeddings.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.linear import linear


class TiedHead(nn.Module):
    """Inner products with the embeddings of the tokens, which are passed in."""

    def logits(self, states: Tensor, weight: Tensor) -> Tensor:
        """Return (..., V) for states (..., C) and embeddings (V, C)."""
        return linear(states, weight)

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
        logits = self.logits(states, weight).float()
        correct = logits.detach().argmax(-1) == labels if ranked else None
        return F.cross_entropy(logits, labels, reduction="none"), correct
