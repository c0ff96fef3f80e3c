"""Trains tokenizers on texts, which are read one after the other, so a corpus may be larger than memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from lab.checking import check_range
from lab.data.text.byte_level import byte_level_bpe
from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.wordpiece import wordpiece
from lab.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
STREAM_TOKENS = ("<|endoftext|>",)
MOST_CHARACTERS = 1000
"""Rarer characters than this many get no token of WordPiece, as in Hugging Face's BertWordPieceTokenizer."""


def train_wordpiece(
    texts: Iterable[str],
    vocab_size: int,
    lowercase: bool = True,
    special: Sequence[str] = BERT_TOKENS,
    min_frequency: int = 2,
) -> TextTokenizer:
    """Train a vocabulary of WordPiece; the pieces are those of BPE, as in Hugging Face's trainer.

    Args:
        texts: the corpus; it is read twice, so it may be a list, but no generator.
        vocab_size: the most tokens, special ones and single characters too.
        lowercase: whether text is lower-cased and its accents are stripped.
        special: special tokens, the first ids; with ``"[UNK]"``.
        min_frequency: the fewest occurrences of a pair that is joined.

    Raises:
        ConfigError: ``vocab_size`` is too small.
        DataError: there is no text.
        TypeError: the corpus can be read only once.
    """
    from tokenizers import trainers

    check_range("vocab_size", vocab_size, least=len(special) + 1)
    if "[UNK]" not in special:
        raise DataError(f"special tokens {list(special)} of WordPiece lack [UNK], which stands for unknown words")
    if iter(texts) is texts:
        raise TypeError("the texts are read twice, so they cannot be an iterator; a list of texts for instance can")
    blank = wordpiece({token: number for number, token in enumerate(special)}, lowercase)
    alphabet = _alphabet(texts, blank, vocab_size - len(special))
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        # the order of the library's hash table would give characters other ids, and ties other winners, each time
        special_tokens=[*special, *alphabet],
        limit_alphabet=0,
        continuing_subword_prefix="##",
        show_progress=False,
    )
    blank.train_from_iterator(texts, trainer)
    return TextTokenizer(wordpiece(blank.get_vocab(with_added_tokens=False), lowercase).to_str())


def _alphabet(texts: Iterable[str], tokenizer: Tokenizer, most: int) -> list[str]:
    """Return the most frequent characters of texts, at the begin of a word and within, in a fixed order."""
    counts: Counter[str] = Counter()
    for text in _some(texts):
        counts.update(text)
    normal: Counter[str] = Counter()
    for sign, count in counts.items():
        for part in tokenizer.normalizer.normalize_str(sign):
            if not part.isspace():
                normal[part] += count
    ranked = sorted(normal, key=lambda sign: (-normal[sign], sign))[: min(MOST_CHARACTERS, most // 2)]
    return [*sorted(ranked), *(f"##{sign}" for sign in sorted(ranked))]


def train_bpe(
    texts: Iterable[str], vocab_size: int, special: Sequence[str] = STREAM_TOKENS, min_frequency: int = 2
) -> TextTokenizer:
    """Train byte-level BPE; see ``train_wordpiece``. All 256 bytes are tokens, so any text can be encoded."""
    from tokenizers import pre_tokenizers, trainers

    check_range("vocab_size", vocab_size, least=len(special) + 256)
    blank = byte_level_bpe({}, [])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    blank.train_from_iterator(_some(texts), trainer)
    model = json.loads(blank.to_str())["model"]
    merges = [(first, second) for first, second in model["merges"]]
    return TextTokenizer(byte_level_bpe(model["vocab"], merges).to_str())


def train_characters(texts: Iterable[str], special: Sequence[str] = ()) -> TextTokenizer:
    """Return a tokenizer of the characters of texts.

    Args:
        texts: the corpus.
        special: special tokens, the first ids.

    Raises:
        DataError: there is no text.
    """
    symbols: set[str] = set()
    for text in _some(texts):
        symbols.update(text)
    return TextTokenizer.characters(symbols, special)


def _some(texts: Iterable[str]) -> Iterator[str]:
    empty = True
    for text in texts:
        empty = empty and not text
        yield text
    if empty:
        raise DataError("there is no text to train a tokenizer on")
