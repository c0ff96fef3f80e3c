"""Tokens with a meaning of their own, found by the names that published tokenizers give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAMES: dict[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>", "<|pad|>"),
    "unk": ("[UNK]", "<unk>", "<|unk|>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("[MASK]", "<mask>"),
    "end_of_text": ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>"),
}
"""What each special token may be called; the first name found in a vocabulary counts."""


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of special tokens; None where a tokenizer has no such token.

    Attributes:
        pad: fills up a batch.
        unk: stands for what the vocabulary lacks.
        cls: begins a text; its state stands for the whole text.
        sep: ends a text.
        mask: stands for a hidden token.
        end_of_text: ends a document in a stream of tokens.
    """

    pad: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    end_of_text: int | None = None

    @property
    def ids(self) -> frozenset[int]:
        """The ids of those that exist."""
        values = (getattr(self, field.name) for field in fields(self))
        return frozenset(value for value in values if value is not None)


def find_special(vocabulary: Mapping[str, int]) -> SpecialTokens:
    """Return the special tokens of a vocabulary, token to id."""
    found = {
        role: next((vocabulary[name] for name in names if name in vocabulary), None) for role, names in NAMES.items()
    }
    return SpecialTokens(**found)


def mark_special(tokenizer: Tokenizer, vocabulary: Mapping[str, int]) -> None:
    """Tell Hugging Face's tokenizer which tokens of its vocabulary are special, for whoever reads its file."""
    from tokenizers import AddedToken

    names = {number: token for token, number in vocabulary.items()}
    special = [names[number] for number in sorted(find_special(vocabulary).ids)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
