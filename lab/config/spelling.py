"""Rewrites overrides that are clear to a reader but not to Hydra's grammar.

Unquoted values in Hydra's grammar have no ``=`` and no letters beyond ASCII, so it cannot read ``data.root=/x/数据``. A
value is put in quotes if that is all it needs. Hydra reads ``1e3`` as a float, which no count may be, so a power of ten
without a decimal point is rewritten as an integer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import HydraException

from lab.compat.hydra import parse_override
from lab.text import printable

_WORD = re.compile(r"([^=]*)=(.*)", re.DOTALL)
_WHOLE = re.compile(r"(?:^|(?<=[=,\[ :]))([+-]?\d{1,18})[eE]\+?(\d{1,2})(?=$|[,\] }])", re.ASCII)
_PART = re.compile(r"""(?:\$\{[^{}'"]*\}|[^,\[\]{}()'"\\$])+""")
"""A run of characters without quotes, brackets, commas and backslashes."""
_PATH = re.compile(r"""[^\[{(,'"\\$][^,"\\$]*""")
"""A string that begins like a path: no list, no quote, no reference to another key."""
_PLAIN = re.compile(r"[A-Za-z0-9_./@:$\\*%+?| -]|\$\{[^{}]*\}")
"""Characters that need no quotes in Hydra's grammar."""


def spelled(words: Sequence[str]) -> list[str]:
    """Return overrides as Hydra's grammar needs them; those that it still cannot read are left unchanged."""
    return [_spelled(word) for word in words]


def value_of(word: str) -> str:
    """Return the part of an override after its first ``=``, as it was typed."""
    found = _WORD.fullmatch(word)
    return found[2] if found is not None else ""


def _spelled(word: str) -> str:
    found = _WORD.fullmatch(word)
    if found is None:
        return word
    key, value = found.groups()
    if not any(quote in value for quote in "'\""):
        value = _WHOLE.sub(lambda match: str(int(match[1]) * 10 ** int(match[2])), value)
    word = f"{key}={value}"
    if _is_read(word):
        return word
    tried = [f"{key}={_PART.sub(_quoted, value)}"]
    if "/" in value and _PATH.fullmatch(value):  # a folder named "photos (1)" or "Anna's"
        quote = '"' if "'" in value else "'"
        tried.append(f"{key}={quote}{value}{quote}")
    return next((quoted for quoted in tried if _is_read(quoted)), word)


def _quoted(match: re.Match[str]) -> str:
    part = match[0]
    text = part.strip()
    if not _PLAIN.sub("", text):
        return part
    return part.replace(text, f"'{text}'")


def _is_read(word: str) -> bool:
    try:
        parse_override(word)
    except HydraException:
        return False
    return True


def obstacle(value: str) -> str | None:
    """Return why Hydra's grammar cannot read a value, as far as single characters show it."""
    outside = re.sub(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", "", value)
    for quote in ("'", '"'):
        if quote in outside:
            return "a quote is not closed" if value.count(quote) % 2 else "a quote stands inside a text"
    for opened, closed in ("[]", "{}", "()"):
        if outside.count(opened) > outside.count(closed):
            return f"{opened} is not closed"
    strange = next(iter(sorted(_PLAIN.sub("", outside), key="[](){},=".find)), None)  # other characters before these
    return f"the sign {printable(strange)!r}" if strange is not None else None
