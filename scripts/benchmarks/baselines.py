"""Baselines that are not trained: scores of popularity and session kNN, which have no peer here; a bag of words."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.pairs import Pair, Size
from benchmarks.sasrec import make_batch

from lab import create_model


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return the model after it has memorised generated sequences.

    Args:
        name: ``popularity`` or ``session_knn``.
        batch: the number of queried sequences; four times as many are memorised.
        size: (longest sequence, items).
        device: to compute on.
        training: has no effect here.
        dropout: has no effect here.
    """
    length, num_items = size
    remembered = make_batch(4 * batch, length, num_items)
    items = remembered.items[remembered.items > 0]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), remembered.lengths.cumsum(0)])
    counts = {"num_sequences": 4 * batch, "num_events": len(items)} if name == "session_knn" else {}
    ours: Any = create_model(name, num_items=num_items, **counts)
    ours = ours.to(device).eval()
    ours.memorize(items.to(device), offsets.to(device))
    asked = make_batch(batch, length, num_items)
    queries = torch.stack([torch.arange(batch), asked.lengths - 1], 1).to(device)
    asked = asked.to(device)
    return Pair(ours, lambda: ours.score(ours.encode(asked, queries), slice(1, num_items + 1)), batch)


def make_bag_of_words(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return a regression on counts of tokens with some weights; its peer is the product with a dense table of counts.

    Args:
        name: ``bag_of_words``.
        batch: texts.
        size: (tokens of a text, vocabulary).
        device: to compute on.
        training: has no effect here.
        dropout: has no effect here.
    """
    length, vocab_size = size
    generator = torch.Generator().manual_seed(0)
    ours: Any = create_model(name, vocab_size=vocab_size, num_classes=3)
    ours.weight.copy_(torch.randn(ours.weight.shape, generator=generator))
    ours = ours.to(device).eval()
    words = torch.randint(vocab_size, (batch, length), generator=generator).to(device)
    stands = torch.zeros(batch, vocab_size, device=device).scatter_(1, words, 1.0)
    return Pair(ours, lambda: ours(words), batch, peer_outputs=lambda: stands @ ours.weight + ours.bias)
