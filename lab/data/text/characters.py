"""A vocabulary of single characters: reversible, and as fast as numpy looks up code points."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.errors import DataError

Ids = NDArray[np.int64]


class Characters:
    """Maps each character of a text to an id.

    Args:
        tokens: the vocabulary in the order of ids: single characters, and special tokens of several characters.
        unk: the special token for any other character; None: other characters are refused.

    Raises:
        DataError: a token occurs twice or is empty, or ``unk`` is none of them.
    """

    def __init__(self, tokens: Sequence[str], unk: str | None = None) -> None:
        self.vocabulary = {token: number for number, token in enumerate(tokens)}
        if len(self.vocabulary) != len(tokens) or "" in self.vocabulary or not tokens:
            raise DataError("a vocabulary of characters should have each character once, and at least one")
        if unk is not None and unk not in self.vocabulary:
            raise DataError(f"the token {unk!r} for unknown characters is not in the vocabulary")
        self.tokens, self.unk = list(tokens), unk
        single = sorted((ord(token), number) for token, number in self.vocabulary.items() if len(token) == 1)
        self._points = np.array([point for point, _ in single], dtype=np.uint32)
        self._ids = np.array([number for _, number in single], dtype=np.int64)

    def encode(self, text: str) -> Ids:
        """Return the id of each character.

        Raises:
            DataError: a character is unknown and there is no token for such.
        """
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        if not len(self._points):
            places, known = np.zeros(len(points), dtype=np.int64), np.zeros(len(points), dtype=np.bool_)
            ids = places
        else:
            places = np.searchsorted(self._points, points).clip(max=len(self._points) - 1)
            known = self._points[places] == points
            ids = self._ids[places]
        if known.all():
            return ids
        if self.unk is None:
            other = sorted({chr(point) for point in points[~known][:1000].tolist()})
            raise DataError(
                f"{int((~known).sum())} characters are not in the vocabulary of {len(self.tokens)}, such as "
                f"{', '.join(map(repr, other[:5]))}, and it has no token for unknown ones ([UNK])"
            )
        return np.where(known, ids, self.vocabulary[self.unk])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids."""
        return "".join(self.tokens[number] for number in ids)

    def to_plain(self) -> dict[str, Any]:
        """Return it in the layout of tokenizer.json: any reader of Hugging Face's ``tokenizers`` can use it."""
        special = [token for token in self.tokens if len(token) > 1]
        added = [
            {
                "id": self.vocabulary[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in special
        ]
        every = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": every,
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": self.vocabulary, "unk_token": self.unk or ""},
        }

    def to_text(self) -> str:
        """Return ``to_plain`` as json."""
        return json.dumps(self.to_plain(), ensure_ascii=False)


def is_characters(plain: dict[str, Any]) -> bool:
    """Return whether the content of a tokenizer.json is a vocabulary of characters, as ``to_plain`` writes it."""
    pre, model = plain.get("pre_tokenizer"), plain.get("model")
    if not isinstance(pre, dict) or not isinstance(model, dict) or model.get("type") != "WordLevel":
        return False
    return pre.get("pattern") == {"Regex": r"[\s\S]"} and pre.get("behavior") == "Isolated"
