"""One tokenizer for all kinds of problem on text: WordPiece, byte-level BPE, or characters.

A tokenizer is a text in the layout of Hugging Face's tokenizer.json, which data specs and checkpoints carry. A text to
encode is only text: the name of a special token in it is split like any other word, as Google's tokenization.py does.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.compat.tokenizers import library_errors
from lab.data.text.characters import Characters
from lab.data.text.published_wordpiece import PublishedWordPiece
from lab.data.text.special import SpecialTokens, find_special
from lab.data.text.tokenizer_json import parse_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Spans = list[tuple[int, int]]


class TextTokenizer:
    """Text to token ids and back.

    Args:
        text: a whole tokenizer.json.
        where: where the text is from, for messages.

    Attributes:
        kind: ``"wordpiece"``, ``"bpe"`` or ``"characters"``; any other model of Hugging Face's by its name in lower
            case (``"unigram"``).
        special: the ids of special tokens.

    Raises:
        DataError: the text is no tokenizer.json, or a damaged one.
    """

    def __init__(self, text: str, where: str = "the tokenizer") -> None:
        parsed = parse_tokenizer(text, where)
        self._text, self.kind, self._vocabulary = text, parsed.kind, parsed.vocabulary
        self._rust: Tokenizer | None = parsed.rust
        self._characters: Characters | None = parsed.characters
        self._published: PublishedWordPiece | None = parsed.published
        self.special: SpecialTokens = find_special(self._vocabulary)
        self._process = os.getpid()

    @classmethod
    def load(cls, path: str | Path, lowercase: bool = True) -> TextTokenizer:
        """Read a tokenizer from files.

        Args:
            path: vocab.txt of WordPiece; tokenizer.json; or a folder with one of these, with encoder.json and
                vocab.bpe, or with vocab.json and merges.txt.
            lowercase: whether WordPiece of a vocab.txt lower-cases text and strips accents.

        Raises:
            DataError: there is no such file, or it is damaged.
        """
        from lab.data.text.tokenizer_files import read_tokenizer

        return cls(read_tokenizer(Path(path), lowercase), str(path))

    @classmethod
    def from_text(cls, text: str) -> TextTokenizer:
        """Return the tokenizer of a text that ``to_text`` returned."""
        return cls(text)

    @classmethod
    def characters(cls, symbols: Iterable[str], special: Sequence[str] = ()) -> TextTokenizer:
        """Return a tokenizer of single characters.

        Args:
            symbols: the characters, in any order; ids follow their code points, after those of ``special``.
            special: names of special tokens (``lab.data.text.special.NAMES``); with ``"[UNK]"`` unknown characters are
                encoded, without it they are refused.
        """
        tokens = [*special, *sorted(set(symbols))]
        return cls(Characters(tokens, "[UNK]" if "[UNK]" in special else None).to_text())

    def to_text(self) -> str:
        """Return the whole tokenizer as a text, a tokenizer.json."""
        return self._text

    @cached_property
    def fingerprint(self) -> str:
        """A string that differs for different tokenizers."""
        return hashlib.sha256(self._text.encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def vocab_size(self) -> int:
        """V: ids are 0 to V - 1."""
        return max(self._vocabulary.values()) + 1

    @property
    def pad_id(self) -> int:
        """The id that fills up a batch: that of padding, else of the end of a text, else 0."""
        special = self.special
        return next((number for number in (special.pad, special.end_of_text) if number is not None), 0)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens.

        Raises:
            DataError: the text has a character that the tokenizer lacks, and no token for unknown ones.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; several processors are used."""
        if self._characters is not None:
            encode = self._characters.encode
            return [encode(text).tolist() for text in texts]
        return [encoding.ids for encoding in self._encodings(texts, offsets=False)]

    def encode_marked(self, text: str) -> list[int]:
        """Return the ids of a text in which the name of a special token (``[MASK]``) stands for that token."""
        names = [name for name in (self.id_to_token(number) for number in self.special.ids) if name]
        if not names:
            return self.encode(text)
        pieces = re.split(f"({'|'.join(map(re.escape, names))})", text)
        encoded = self.encode_batch(pieces[::2])
        marks = [self._vocabulary[name] for name in pieces[1::2]]
        return encoded[0] + [number for mark, ids in zip(marks, encoded[1:], strict=True) for number in (mark, *ids)]

    def offsets(self, text: str) -> tuple[list[int], Spans]:
        """Return the ids of a text, and for each the first and one past the last character it stands for."""
        if self._characters is not None:
            return self.encode(text), [(place, place + 1) for place in range(len(text))]
        encoding = self._encodings([text], offsets=True)[0]
        return encoding.ids, encoding.offsets

    def decode_added(self, ids: Sequence[int]) -> str:
        """Return the text that ids add to a text before them; ``decode`` drops a blank with which it begins."""
        if self._rust is None:
            return self.decode(ids)
        before = self.decode([self._word])
        whole = self.decode([self._word, *ids])
        return whole[len(before) :] if whole.startswith(before) else self.decode(ids)

    @cached_property
    def _word(self) -> int:
        """Any token that is a text of its own."""
        ordinary = (number for number in range(self.vocab_size) if number not in self.special.ids)
        return next((number for number in ordinary if self.decode([number]).strip().isalnum()), 0)

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Return the text of ids.

        Args:
            ids: 0 to V - 1.
            special: whether special tokens are shown by their names.
        """
        numbers = [int(number) for number in ids]
        if not special:
            numbers = [number for number in numbers if number not in self.special.ids]
        if self._rust is None:
            return "".join(self._tokens.get(number, "\ufffd") for number in numbers)
        with library_errors("tokens cannot be decoded"):
            return str(self._rust.decode(numbers, skip_special_tokens=False))

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token; None if there is no such token."""
        return self._vocabulary.get(token)

    def id_to_token(self, number: int) -> str | None:
        """Return the token of an id; None if there is no such id."""
        return self._tokens.get(number)

    @cached_property
    def _tokens(self) -> dict[int, str]:
        return {number: token for token, number in self._vocabulary.items()}

    def _encodings(self, texts: Sequence[str], offsets: bool) -> list[Any]:
        assert self._rust is not None
        if self._published is None:
            return self._by_library(texts, offsets)
        rare = [self._published.differs(text, self._rust) for text in texts]
        common = iter(self._by_library([text for text, other in zip(texts, rare, strict=True) if not other], offsets))
        return [
            self._published.encode(text) if other else next(common) for text, other in zip(texts, rare, strict=True)
        ]

    def _by_library(self, texts: Sequence[str], offsets: bool) -> list[Any]:
        assert self._rust is not None
        # without a value the library complains of every fork that comes after its threads
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        with library_errors("a text cannot be encoded (is it valid Unicode?)"):
            if os.getpid() != self._process:  # a forked process has lost the library's threads
                return [self._rust.encode(text, add_special_tokens=False) for text in texts]
            # without offsets the library is two to three times faster
            encode = self._rust.encode_batch if offsets else self._rust.encode_batch_fast
            found: list[Any] = encode(list(texts), add_special_tokens=False)
        return found

    def __getstate__(self) -> str:
        return self._text

    def __setstate__(self, text: str) -> None:
        TextTokenizer.__init__(self, text)
