"""What a schema objects to, in one line: the key, its value, what is expected, where it was set, the closest names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from lab.config.schemas import ConfigSchema
from lab.errors import closest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from lab.config.compose import Composed

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
"""Our words for the types of pydantic's errors, by their first part."""


def first_problem(error: ValidationError, composed: Composed) -> str:
    """Return the line for the first of the problems that pydantic found."""
    problems = error.errors()
    problem = problems[0]
    keys = keys_of(problem, composed.config)
    key = ".".join(map(str, keys))
    if not keys:
        return problem["msg"].removeprefix("Value error, ")
    where = composed.origin(key)
    if problem["type"] == "extra_forbidden":
        unknown = [keys_of(other, composed.config) for other in problems if other["type"] == "extra_forbidden"]
        present = [str(name) for name in _at(composed.config, keys[:-1]) if [*keys[:-1], name] not in unknown]
        known = list(dict.fromkeys([*present, *_fields(keys[:-1], composed.config)]))
        near = closest(str(keys[-1]), known) or f"; there are {', '.join(known)}"
        parent = ".".join(map(str, keys[:-1])) or "the config"
        return f"{key}: unknown key {str(keys[-1])!r} in {parent} ({where}){near}"
    if problem["type"] == "missing":
        return _missing(keys, composed)
    messages = [message_of(other) for other in problems if keys_of(other, composed.config) == keys]
    value, names = problem["input"], _literals(problem)
    if problem["type"].startswith("union_tag"):
        key, value = f"{key}.name", _at(composed.config, keys)["name"]
        messages, where = [f"should be one of {', '.join(names)}"], composed.origin(key)
    shown = f"={as_typed(value)}" if isinstance(value, str | int | float | None) else ""
    if problem["type"] == "string_type" and isinstance(value, float):
        messages = ["should be a text, and a number is one in quotes"]
    return f"{key}{shown}: {' or '.join(dict.fromkeys(messages))} ({where}){closest(str(value), names)}"


def keys_of(problem: ErrorDetails, config: Any) -> list[str | int]:
    """Return the path of a problem in the config; pydantic adds the names of a union's members, which are no keys."""
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


def _at(config: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        config = config[key]
    return config


def is_of_type(problem: ErrorDetails) -> bool:
    """Whether a value is of another type or none of the words, not only out of its range."""
    return problem["type"].endswith(_OF_TYPE)


def message_of(problem: ErrorDetails) -> str:
    """Return what a value should be, in our words where pydantic's are not those of a user."""
    kind = problem["type"]
    if kind == "string_too_short" or (kind == "too_short" and isinstance(problem["input"], str)):
        return "should not be empty"
    if kind == "missing":
        return "is missing: the list is too short"
    if kind == "literal_error":
        return f"should be one of {', '.join(_literals(problem))}"
    if is_of_type(problem) and kind.split("_")[0] in _EXPECTED:
        return _EXPECTED[kind.split("_")[0]]
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("List ")
    message = message.replace(" after validation", "")
    return message[0].lower() + message[1:]


def as_typed(value: Any) -> str:
    """Return a value as it would be typed; a text that looks like a number or a word of Hydra's stands in quotes."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"'{value}'" if _LOOKS_LIKE_ANOTHER.fullmatch(value) else value
    return str(value).lower() if isinstance(value, bool) else str(value)


_LOOKS_LIKE_ANOTHER = re.compile(r"[+-]?(\d[\d_.]*(e[+-]?\d+)?|nan|inf)|true|false|null", re.IGNORECASE)


def _literals(problem: ErrorDetails) -> list[str]:
    """Return the words that were expected, where it was one of a few."""
    context = problem.get("ctx", {})
    text = str(context.get("expected_tags") or context.get("expected") or "").replace(" or ", ", ")
    return [name.strip("' ") for name in text.split(",")] if text else []


def _fields(keys: Sequence[str | int], config: Any) -> list[str]:
    """Return the names that the schemas have at a path of the config, those without a value too."""
    models: list[type[BaseModel]] = [ConfigSchema]
    for key in keys:
        config = config[key]
        if isinstance(key, str):
            fields = [model.model_fields[key] for model in models if key in model.model_fields]
            models = [member for field in fields for member in _members(field.annotation)]
    name = config.get("name")
    chosen = [
        model
        for model in models
        if "name" in model.model_fields and name in get_args(model.model_fields["name"].annotation)
    ]
    return [field.alias or key for model in chosen or models for key, field in model.model_fields.items()]


def _members(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [member for part in get_args(annotation) for member in _members(part)]


def _missing(keys: list[str | int], composed: Composed) -> str:
    """A key is missing: deleted, or of another optimizer than the chosen one."""
    key = ".".join(map(str, keys))
    group = str(keys[0])
    parent = _at(composed.config, keys[:-1])
    origin = composed.origin(f"{group}.name")
    name = parent.get("name") if isinstance(parent, Mapping) else None
    if group in ("optimizer", "scheduler") and origin.startswith("set on the command line"):
        return f"{key} is missing for {group}.name={name} ({origin}); {group}={name} brings all of its settings"
    return f"{key} is missing ({composed.origin(key)})"
