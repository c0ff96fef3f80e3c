"""Google's tokenization.py step by step, for texts with characters that Hugging Face's library treats otherwise.

The library is many times faster, and differs for a few: characters of newer versions of Unicode, those of private use,
a part of the rare Chinese ones, and the capital sigma, whose small letter depends on its place in a word. Which they
are is found by asking both, once for each character that occurs, so it holds for any version of either.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Blocks of Chinese characters, each of which is a word."""
_SIGMA = "\u03a3"

Signs = list[tuple[str, int]]
"""Characters, each with its place in the text."""


@dataclass(frozen=True)
class PublishedEncoding:
    """The tokens of a text, under the names that Hugging Face's library uses.

    Attributes:
        ids: the ids.
        offsets: the first and one past the last character that each stands for.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


class PublishedWordPiece:
    """WordPiece as Google's tokenization.py has it.

    Args:
        vocabulary: token to id.
        lowercase: whether text is lower-cased and its accents are stripped.
        unk: the token of unknown words.
        longest: a word of more characters is unknown.
    """

    def __init__(self, vocabulary: Mapping[str, int], lowercase: bool, unk: str, longest: int) -> None:
        self.vocabulary, self.lowercase, self.unk, self.longest = vocabulary, lowercase, unk, longest
        self._alike: set[str] = set()
        self._unlike = {_SIGMA} if lowercase else set()

    @classmethod
    def of(cls, plain: Mapping[str, Any], vocabulary: Mapping[str, int]) -> PublishedWordPiece | None:
        """Return it for a tokenizer.json that follows Google's steps; None for any other."""
        model, normalizer = plain["model"], plain.get("normalizer")
        if model["type"] != "WordPiece" or not isinstance(normalizer, dict):
            return None
        lowercase = normalizer.get("lowercase") is True
        accents = normalizer.get("strip_accents")
        before = plain.get("pre_tokenizer")
        follows = (
            normalizer.get("type") == "BertNormalizer"
            and normalizer.get("clean_text") is True
            and normalizer.get("handle_chinese_chars") is True
            and (accents is None or accents is lowercase)
            and isinstance(before, dict)
            and before.get("type") == "BertPreTokenizer"
            and model.get("continuing_subword_prefix") == "##"
        )
        longest = model.get("max_input_chars_per_word")
        if not follows or not isinstance(longest, int):
            return None
        return cls(vocabulary, lowercase, model["unk_token"], longest)

    def differs(self, text: str, library: Tokenizer) -> bool:
        """Return whether a text has a character that the library treats otherwise."""
        if text.isascii():
            return False
        signs = set(text)
        for sign in signs - self._alike - self._unlike:
            (self._alike if self._same(f"a{sign}b", library) else self._unlike).add(sign)
        return not signs.isdisjoint(self._unlike)

    def _same(self, text: str, library: Tokenizer) -> bool:
        if "\ud800" <= text[1] <= "\udfff":
            return False  # half a character, which the library refuses
        normal = library.normalizer.normalize_str(text)
        return ["".join(sign for sign, _ in word) for word in self.words(text)] == [
            word for word, _ in library.pre_tokenizer.pre_tokenize_str(normal)
        ]

    def words(self, text: str) -> list[Signs]:
        """Return the words and punctuation marks of a text."""
        found: list[Signs] = []
        for word in _at_blanks(_clean(text)):
            found += _at_punctuation(_small(word) if self.lowercase else word)
        return found

    def encode(self, text: str) -> PublishedEncoding:
        """Return the tokens of a text."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for word in self.words(text):
            pieces = self._pieces("".join(sign for sign, _ in word))
            for number, first, last in pieces:
                ids.append(number)
                offsets.append((word[first][1], word[last - 1][1] + 1))
        return PublishedEncoding(ids, offsets)

    def _pieces(self, word: str) -> list[tuple[int, int, int]]:
        """Return the pieces of a word, each the longest possible: id, first place, one past the last."""
        unknown = [(self.vocabulary[self.unk], 0, len(word))]
        if len(word) > self.longest:
            return unknown
        found: list[tuple[int, int, int]] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self.vocabulary)
            end = next(ends, None)
            if end is None:
                return unknown
            found.append((self.vocabulary[prefix + word[start:end]], start, end))
            start = end
        return found


def _clean(text: str) -> Signs:
    """Drop control characters, make each blank a space, and put spaces around Chinese characters."""
    found: Signs = []
    for place, sign in enumerate(text):
        kind = unicodedata.category(sign)
        if sign in " \t\n\r" or kind == "Zs":
            found.append((" ", place))
        elif sign not in "\0\ufffd" and kind not in ("Cc", "Cf"):
            chinese = any(first <= ord(sign) <= last for first, last in _CHINESE)
            found += [(" ", place), (sign, place), (" ", place)] if chinese else [(sign, place)]
    return found


def _at_blanks(signs: Signs) -> list[Signs]:
    words: list[Signs] = [[]]
    for sign, place in signs:
        if sign.isspace():
            words.append([])
        else:
            words[-1].append((sign, place))
    return [word for word in words if word]


def _small(word: Signs) -> Signs:
    """Lower-case a word and strip its accents."""
    lower = "".join(sign for sign, _ in word).lower()
    places = [place for sign, place in word for _ in sign.lower()]
    split = [unicodedata.normalize("NFD", sign) for sign in lower]
    places = [place for part, place in zip(split, places, strict=True) for _ in part]
    whole = unicodedata.normalize("NFD", lower)  # the order of several marks of a letter is that of the whole
    return [(sign, place) for sign, place in zip(whole, places, strict=True) if unicodedata.category(sign) != "Mn"]


def _at_punctuation(word: Signs) -> list[Signs]:
    found: list[Signs] = []
    begins = True
    for sign, place in word:
        if _is_punctuation(sign):
            found.append([(sign, place)])
            begins = True
        elif begins:
            found.append([(sign, place)])
            begins = False
        else:
            found[-1].append((sign, place))
    return found


def _is_punctuation(sign: str) -> bool:
    """Return whether a character is punctuation; all signs of ASCII count, ``$`` and ``^`` too."""
    if sign.isascii():
        return sign.isprintable() and not sign.isalnum() and sign != " "
    return unicodedata.category(sign).startswith("P")
