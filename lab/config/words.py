"""Parses overrides into key and value with Hydra's own parser; no other module parses them."""

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
        key: without the sign; with the package if one is given, ``group@package``.
        value: a plain value without quotes; for several values of a sweep their text; None for ``~key`` and ``null``.
        is_read: whether Hydra can read the override; if not, it is refused when it is composed.
    """

    text: str
    sign: str
    key: str
    value: Any
    is_read: bool = True

    @property
    def shown(self) -> str:
        """The value as a string, as it was typed but without quotes."""
        return self.value if isinstance(self.value, str) else self.text.partition("=")[2]


@lru_cache(maxsize=4096)
def parse_word(text: str) -> TypedWord:
    """Parse an override after ``spelled``; if Hydra still cannot read it, split it at its first ``=``."""
    from hydra.errors import HydraException

    from lab.compat.hydra import is_many, parse_override
    from lab.config.spelling import spelled

    head = text.partition("=")[0]
    key = head.lstrip("+~")
    sign = head[: len(head) - len(key)]
    try:
        override = parse_override(spelled([text])[0])
        value = override.value()
    except (HydraException, ValueError):  # composing it reports the mistake
        return TypedWord(text, sign, key, text.partition("=")[2], is_read=False)
    if is_many(override, value):
        value = text.partition("=")[2]
    return TypedWord(text, sign, override.get_key_element().lstrip("+~"), value)


def word_key(text: str) -> str:
    """Return the key of an override: ``optimizer.lr`` for ``+optimizer.lr=1``."""
    return parse_word(text).key


def word_values(words: Iterable[str], keys: Sequence[str]) -> dict[str, str]:
    """Return, as strings, the values that overrides give to ``keys``; the last one counts, and null is no value."""
    values: dict[str, str] = {}
    for word in map(parse_word, words):
        if word.key in keys:
            values.pop(word.key, None)
            if word.value is not None:
                values[word.key] = str(word.value)
    return values


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Return Python values as overrides: ``{"optimizer": {"lr": 1e-3}}`` becomes ``optimizer.lr=0.001``.

    A string is written as on the command line, in quotes if it needs them. An empty mapping gives no override.

    Raises:
        ConfigError: a value is not None, a bool, a number, a string or a path, nor a list or mapping of these.
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
    raise ConfigError(
        f"{key}: a value of the type {kind} cannot be in a config; give numbers, strings, lists and mappings"
    )


def _text(text: str) -> str:
    word = parse_word(f"key={text}")
    plain = word.is_read and (not isinstance(word.value, str) or word.value == text) and text != ""
    if plain and not (isinstance(word.value, str) and "," in text and text[:1] not in "'\"["):
        return text
    escaped = text.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"
