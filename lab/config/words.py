"""Key and value of a word of the command line, by Hydra's own parser: the one place where words are taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class TypedWord:
    """An override such as ``++optimizer.lr=1e-3`` or ``ckpt='my run/best.ckpt'``.

    Attributes:
        text: as it was typed.
        sign: ``""``, ``"+"``, ``"++"`` or ``"~"``.
        key: without the sign; with the package where one is given, ``group@package``.
        value: a plain value, quotes taken off; of several values for a sweep their text; None of ``~key`` and ``null``.
        is_read: whether Hydra can read it: what it cannot is refused when it is composed.
    """

    text: str
    sign: str
    key: str
    value: Any
    is_read: bool = True

    @property
    def shown(self) -> str:
        """The value as a text: quotes taken off, else as it was typed."""
        return self.value if isinstance(self.value, str) else self.text.partition("=")[2]


@lru_cache(maxsize=4096)
def parse_word(text: str) -> TypedWord:
    """Take a word apart, as ``spelled`` writes it; one that Hydra cannot read even so at its first ``=``."""
    from hydra.errors import HydraException

    from lab.compat.hydra import is_many, parse_override
    from lab.config.spelling import spelled

    head = text.partition("=")[0]
    key = head.lstrip("+~")
    sign = head[: len(head) - len(key)]
    try:
        override = parse_override(spelled([text])[0])
        value = override.value()
    except (HydraException, ValueError):  # composing it says what is wrong
        return TypedWord(text, sign, key, text.partition("=")[2], is_read=False)
    if is_many(override, value):
        value = text.partition("=")[2]
    return TypedWord(text, sign, override.get_key_element().lstrip("+~"), value)


def word_key(text: str) -> str:
    """Return the key of a word: ``optimizer.lr`` of ``+optimizer.lr=1``."""
    return parse_word(text).key


def word_values(words: Iterable[str], keys: Sequence[str]) -> dict[str, str]:
    """Return, as texts, the values that words give to ``keys``; the last word counts, and null is no value."""
    values: dict[str, str] = {}
    for word in map(parse_word, words):
        if word.key in keys:
            values.pop(word.key, None)
            if word.value is not None:
                values[word.key] = str(word.value)
    return values
