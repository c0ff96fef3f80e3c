"""Key and value of a word of the command line, by Hydra's own parser: the one place where words are taken apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from lab.errors import ConfigError


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


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Return the words that say what Python's values say: ``{"optimizer": {"lr": 1e-3}}`` is ``optimizer.lr=0.001``.

    A text is what it would be on the command line, in quotes where it needs them; an empty mapping says nothing.

    Raises:
        ConfigError: a value is neither None, a truth value, number, text or path, nor a list or mapping of such.
    """
    words: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            words += words_of({f"{key}.{below}": item for below, item in value.items()})
        else:
            words.append(f"{key}={_written(key, value)}")
    return words


def _written(key: str, value: Any) -> str:
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str | PurePath):
        return _text(str(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(_written(key, item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{_written(key, item)}' for name, item in value.items())}}}"
    kind = type(value).__name__
    raise ConfigError(f"{key}: {kind} is no value of a config; give a number, a text, a list or a mapping of such")


def _text(text: str) -> str:
    word = parse_word(f"key={text}")
    plain = word.is_read and (not isinstance(word.value, str) or word.value == text) and text != ""
    if plain and not (isinstance(word.value, str) and "," in text and text[:1] not in "'\"["):
        return text
    escaped = text.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"
