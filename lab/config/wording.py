"""Pydantic's errors in a user's terms: the key in the config, what the value should be, how to type it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_OF_TYPE = ("_type", "_parsing", "_required", "_from_float", "literal_error")
_EXPECTED = {
    "int": "should be an integer",
    "float": "should be a number",
    "bool": "should be true or false",
    "string": "should be a text",
    "list": "should be a list such as [a,b]",
    "tuple": "should be a list such as [a,b]",
    "dict": "should hold keys of its own",
    "model": "should hold keys of its own",
    "finite": "should be a finite number",
}
"""Messages for the types of pydantic's errors, by their first part."""


def keys_of(problem: ErrorDetails, config: Any) -> list[str | int]:
    """Return the path of a problem in the config, without the names of union members that pydantic adds."""
    node: Any = config
    keys: list[str | int] = []
    absent = problem["type"] in ("missing", "extra_forbidden")
    for index, part in enumerate(problem["loc"]):
        last = index == len(problem["loc"]) - 1
        if isinstance(node, Mapping) and (part in node or (absent and last)):
            node = node.get(part)
        elif isinstance(node, Sequence) and not isinstance(node, str) and isinstance(part, int):
            node = node[part] if part < len(node) else None
        else:
            continue
        keys.append(part)
    return keys


def is_of_type(problem: ErrorDetails) -> bool:
    """Whether a value has the wrong type or is none of the allowed words, not only out of its range."""
    return problem["type"].endswith(_OF_TYPE)


def message_of(problem: ErrorDetails) -> str:
    """Return what a value should be; pydantic's message is replaced if a user would not understand it."""
    kind = problem["type"]
    if kind == "string_too_short" or (kind == "too_short" and isinstance(problem["input"], str)):
        return "should not be empty"
    if kind == "missing":
        return "is missing: the list is too short"
    if kind == "literal_error":
        return f"should be one of {', '.join(literals(problem))}"
    if is_of_type(problem) and kind.split("_")[0] in _EXPECTED:
        return _EXPECTED[kind.split("_")[0]]
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("List ")
    message = message.replace(" after validation", "")
    return message[0].lower() + message[1:]


def as_typed(value: Any) -> str:
    """Return a value as it would be typed; a string that looks like a number or a keyword of Hydra is quoted."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"'{value}'" if _LOOKS_LIKE_ANOTHER.fullmatch(value) else value
    return str(value).lower() if isinstance(value, bool) else str(value)


_LOOKS_LIKE_ANOTHER = re.compile(r"[+-]?(\d[\d_.]*(e[+-]?\d+)?|nan|inf)|true|false|null", re.IGNORECASE)


def literals(problem: ErrorDetails) -> list[str]:
    """Return the allowed words of a problem, if it expects one of several."""
    context = problem.get("ctx", {})
    text = str(context.get("expected_tags") or context.get("expected") or "").replace(" or ", ", ")
    return [name.strip("' ") for name in text.split(",")] if text else []
