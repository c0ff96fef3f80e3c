"""WordPiece as google-research/bert's tokenization.py: the text is cleaned, split at blanks and punctuation, cut up.

See Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lab.data.text.special import mark_special

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST_WORD = 200
"""Google's limit: a word of more characters is unknown."""


def wordpiece(vocabulary: Mapping[str, int], lowercase: bool, unk: str = "[UNK]") -> Tokenizer:
    """Return a WordPiece tokenizer.

    Args:
        vocabulary: token to id; pieces within a word begin with ``##``.
        lowercase: whether text is lower-cased and its accents are stripped.
        unk: the token of unknown words.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = models.WordPiece(dict(vocabulary), unk_token=unk, max_input_chars_per_word=LONGEST_WORD)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    mark_special(tokenizer, vocabulary)
    return tokenizer
