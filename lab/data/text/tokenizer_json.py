"""Checks a tokenizer.json before Hugging Face's ``tokenizers`` opens it: each fault is one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.compat.tokenizers import library_errors
from lab.data.text.characters import Characters, is_characters
from lab.data.text.published_wordpiece import PublishedWordPiece
from lab.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_BYTES = 256 << 20
"""The largest tokenizer.json: those of 250,000 tokens have 15 MB."""
KINDS = {"WordPiece": "wordpiece", "BPE": "bpe", "Unigram": "unigram", "WordLevel": "wordlevel"}


@dataclass(frozen=True)
class Parsed:
    """A checked tokenizer: Hugging Face's, for WordPiece with Google's own steps; or one of characters."""

    kind: str
    vocabulary: dict[str, int]
    rust: Tokenizer | None = None
    characters: Characters | None = None
    published: PublishedWordPiece | None = None


def parse_tokenizer(text: str, where: str) -> Parsed:
    """Return the tokenizer of a tokenizer.json.

    Args:
        text: the content of the file.
        where: the file's name, for messages.

    Raises:
        DataError: it is no tokenizer.json, or it is damaged.
    """
    if len(text) > MOST_BYTES:
        raise DataError(f"{where}: has {len(text) >> 20} MB; a tokenizer.json has at most {MOST_BYTES >> 20}")
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{where}: is no tokenizer.json: {why[:200]}") from error
    vocabulary = _vocabulary(plain, where)
    if is_characters(plain):
        return Parsed("characters", vocabulary, characters=_characters(plain, vocabulary, where))
    published = PublishedWordPiece.of(plain, vocabulary)
    return Parsed(KINDS[plain["model"]["type"]], vocabulary, rust=_open(text, where), published=published)


def _vocabulary(plain: Any, where: str) -> dict[str, int]:
    """Return token to id, of the model and of the added tokens."""
    model = plain.get("model") if isinstance(plain, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("type"), str):
        raise DataError(f"{where}: is no tokenizer.json: it has no 'model' with a 'type'")
    if model["type"] not in KINDS:
        raise DataError(f"{where}: its model is {model['type'][:40]!r}; should be one of {', '.join(KINDS)}")
    known = model.get("vocab")
    if model["type"] == "Unigram" and isinstance(known, list):
        pairs = [entry if isinstance(entry, list) and len(entry) == 2 else [None, 0] for entry in known]
        known = {str(token): number for number, (token, _) in enumerate(pairs)}
    if not isinstance(known, dict) or not known:
        raise DataError(f"{where}: its vocabulary ('model', 'vocab') is empty or no table of tokens")
    added = plain.get("added_tokens") or []
    entries: list[Any] = added if isinstance(added, list) else [None]
    if not all(isinstance(entry, dict) and isinstance(entry.get("content"), str) for entry in entries):
        raise DataError(f"{where}: 'added_tokens' should be a list of tokens, each with its 'content'")
    vocabulary = {**known, **{entry["content"]: entry.get("id") for entry in entries}}
    most = 2 * len(vocabulary) + 1024
    for token, number in vocabulary.items():
        if not isinstance(token, str) or type(number) is not int or not 0 <= number < most:
            raise DataError(
                f"{where}: the token {str(token)[:40]!r} has the id {str(number)[:40]}; "
                f"{len(vocabulary)} tokens should have ids from 0 on"
            )
    if len(set(vocabulary.values())) != len(vocabulary):
        raise DataError(f"{where}: two tokens have the same id")
    unk = model.get("unk_token")
    if model["type"] == "WordPiece" and (not isinstance(unk, str) or unk not in vocabulary):
        raise DataError(f"{where}: the vocabulary lacks {str(unk)[:40]!r}, which stands for unknown words")
    return vocabulary


def _characters(plain: dict[str, Any], vocabulary: dict[str, int], where: str) -> Characters:
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if vocabulary[tokens[-1]] != len(tokens) - 1:
        raise DataError(f"{where}: {len(tokens)} characters should have the ids 0 to {len(tokens) - 1}")
    unk = plain["model"].get("unk_token") or None
    if unk is not None and not isinstance(unk, str):
        raise DataError(f"{where}: 'unk_token' should be a token")
    return Characters(tokens, unk)


def _open(text: str, where: str) -> Tokenizer:
    """Return Hugging Face's tokenizer, set to read special tokens' names as text."""
    from tokenizers import Tokenizer

    with library_errors(f"{where}: is damaged"):
        found = Tokenizer.from_str(text)
    found.no_truncation()
    found.no_padding()
    found.encode_special_tokens = True
    return found
