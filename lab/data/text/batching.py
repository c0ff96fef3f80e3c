"""Puts token sequences of several lengths together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Padded = tuple[Tensor, Tensor | None, Tensor | None, tuple[int, ...]]


def pad_texts(
    texts: Sequence[Sequence[int]],
    pad_id: int,
    types: Sequence[Sequence[int]] | None = None,
    left: bool = False,
    multiple: int = 1,
) -> Padded:
    """Return sequences as a batch, padded at the right; B sequences, T tokens of the longest.

    Args:
        texts: the ids of each sequence.
        pad_id: what fills up shorter ones.
        types: for each token 1 if it belongs to the second text of a pair.
        left: pad at the left instead, as prompts are.
        multiple: T is rounded up to a multiple of this.

    Returns:
        ``input_ids`` (B, T) int64; ``attention_mask`` (B, T) bool, True where a token stands, or None where nothing is
        padded; ``token_type_ids`` (B, T) int64, or None without ``types``; the number of tokens of each sequence.
    """
    lengths = tuple(len(text) for text in texts)
    width = -(-max(lengths, default=0) // multiple) * multiple
    counts = torch.tensor(lengths, dtype=torch.int64)
    places = torch.arange(width)
    standing = places >= width - counts[:, None] if left else places < counts[:, None]
    input_ids = _filled(texts, standing, pad_id)
    token_type_ids = None if types is None else _filled(types, standing, 0)
    padded = any(length != width for length in lengths)
    return input_ids, standing if padded else None, token_type_ids, lengths


def _filled(values: Sequence[Sequence[int]], standing: Tensor, fill: int) -> Tensor:
    table = torch.full(standing.shape, fill, dtype=torch.int64)
    table[standing] = torch.tensor([value for row in values for value in row], dtype=torch.int64)
    return table
