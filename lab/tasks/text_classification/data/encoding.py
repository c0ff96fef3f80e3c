"""Encoded texts as samples and batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lab.data.text.batching import pad_texts
from lab.data.text.sequences import TextEncoding, TextWindow
from lab.data.text.tokenizer import TextTokenizer
from lab.structures.text_classification import (
    TextClassificationBatch,
    TextClassificationSpec,
    TextClassificationTargets,
)


class TextSample(NamedTuple):
    """A text as its windows.

    Attributes:
        windows: at least one.
        label: in 0..K-1; -1 where none is known.
        number: the text's number in its dataset.
    """

    windows: Sequence[TextWindow]
    label: int
    number: int


def encoding_of(spec: TextClassificationSpec) -> TextEncoding:
    """Return how the data of a description is encoded."""
    tokenizer = TextTokenizer.from_text(spec.tokenizer)
    return TextEncoding(tokenizer, spec.max_length, spec.window_stride, spec.max_windows)


def batch_of(
    encoding: TextEncoding, texts: Sequence[str], seconds: Sequence[str] | None = None
) -> TextClassificationBatch:
    """Return texts without labels as one batch."""
    encoded = encoding.encode(texts, seconds)
    samples = [TextSample(encoded.windows(number), -1, number) for number in range(len(encoded))]
    return collate_texts(samples, encoding.tokenizer.pad_id, pairs=seconds is not None)


def collate_texts(samples: Sequence[TextSample], pad_id: int, pairs: bool) -> TextClassificationBatch:
    """Put texts together into a batch, padded to the longest window.

    Args:
        samples: the texts.
        pad_id: the token that pads.
        pairs: whether they are pairs of texts.
    """
    windows = [window for sample in samples for window in sample.windows]
    types = [[0] * first + [1] * (len(ids) - first) for ids, first in windows] if pairs else None
    input_ids, mask, type_ids, lengths = pad_texts([ids for ids, _ in windows], pad_id, types)
    counts = tuple(len(sample.windows) for sample in samples)
    return TextClassificationBatch(
        input_ids=input_ids,
        attention_mask=mask,
        token_type_ids=type_ids,
        lengths=lengths,
        targets=TextClassificationTargets(torch.tensor([sample.label for sample in samples], dtype=torch.int64)),
        sample_ids=torch.tensor([sample.number for sample in samples], dtype=torch.int64),
        valid=torch.ones(len(samples), dtype=torch.bool),
        windows=counts if any(count > 1 for count in counts) else (),
    )
