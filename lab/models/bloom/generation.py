"""Continue texts token by token, with the keys and values of earlier tokens kept.

Names: B sequences, T tokens of the longest prompt, V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lab.models.bloom.cache import KeyValueCache


class Stepping(Protocol):
    """What this module asks of a network; ``Bloom`` documents it."""

    num_layers: int

    def step(self, input_ids: Tensor, cache: KeyValueCache) -> Tensor:
        """Return the states (B, C) behind the next tokens (B, T)."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Return (B, V)."""
        ...


@torch.no_grad()
def continue_texts(
    net: Stepping, input_ids: Tensor, max_new_tokens: int, attention_mask: Tensor | None = None
) -> Tensor:
    """Return prompts and their continuations, (B, T + n).

    Args:
        net: the network.
        input_ids: (B, T), padded at the left.
        max_new_tokens: the most tokens to add.
        attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
    """
    assert attention_mask is None
    cache = KeyValueCache(net.num_layers, input_ids.shape[1] + max_new_tokens)
    found, given = [input_ids], input_ids
    for _ in range(max_new_tokens):
        given = net.logits(net.step(given, cache)).argmax(-1, keepdim=True)
        found.append(given)
    return torch.cat(found, dim=1)
