"""Byte-level byte-pair encoding as GPT-2 has it: any text is encoded, and decoding gives it back.

See Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lab.data.text.special import mark_special

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def byte_level_bpe(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """Return a byte-level BPE tokenizer.

    Args:
        vocabulary: token to id; bytes are written as GPT-2 writes them, a blank as ``Ġ``.
        merges: pairs of tokens in the order in which they are joined.

    Raises:
        Exception: a pair or its join is not in the vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(dict(vocabulary), [(first, second) for first, second in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    mark_special(tokenizer, vocabulary)
    return tokenizer
