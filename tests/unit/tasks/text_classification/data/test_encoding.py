"""Batches of encoded texts, by hand."""

from __future__ import annotations

import torch

from lab.tasks.text_classification.data.encoding import TextSample, batch_of, collate_texts, encoding_of
from tests.unit.tasks.text_classification.makers import TOKENIZER, make_spec

PAD, UNK, CLS, SEP = range(4)
A = TOKENIZER.token_to_id("a")
assert A is not None


def test_a_batch_is_padded_to_its_longest_window() -> None:
    encoded = encoding_of(make_spec(window_stride=6)).encode(["a", "abcdefgh", ""])
    samples = [TextSample(encoded.windows(number), number % 2, number) for number in range(3)]
    batch = collate_texts(samples, PAD, pairs=False)
    assert batch.windows == (1, 2, 1)
    assert batch.input_ids.shape == (4, 8)
    assert batch.lengths == (3, 8, 4, 2)
    assert batch.attention_mask is not None
    assert batch.attention_mask.sum(1).tolist() == [3, 8, 4, 2]
    assert batch.input_ids[0].tolist() == [CLS, A, SEP, *[PAD] * 5]
    assert batch.token_type_ids is None
    assert batch.targets.labels.tolist() == [0, 1, 0]
    assert collate_texts(samples[:1], PAD, pairs=False).attention_mask is None
    assert torch.equal(batch.rows(slice(1, 2)).input_ids, batch.input_ids[1:3])


def test_a_batch_of_pairs() -> None:
    batch = batch_of(encoding_of(make_spec(max_length=9, pairs=True)), ["abc", "a"], ["b", "b"])
    assert batch.token_type_ids is not None
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0]]
