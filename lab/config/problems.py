"""A schema's error as one line: the key, its value, what is expected, where it was set, the closest names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lab.config.wording import as_typed, keys_of, literals, message_of
from lab.errors import closest

if TYPE_CHECKING:
    from lab.config.compose import Composed


def first_problem(error: ValidationError, composed: Composed, schema: type[BaseModel]) -> str:
    """Return the line for the first problem that pydantic found in a config."""
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
        known = list(dict.fromkeys([*present, *_fields(schema, keys[:-1], composed.config)]))
        near = closest(str(keys[-1]), known) or f"; there are {', '.join(known)}"
        parent = ".".join(map(str, keys[:-1])) or "the config"
        return f"{key}: unknown key {str(keys[-1])!r} in {parent} ({where}){near}"
    if problem["type"] == "missing":
        return _missing(keys, composed)
    messages = [message_of(other) for other in problems if keys_of(other, composed.config) == keys]
    value, names = problem["input"], literals(problem)
    if problem["type"].startswith("union_tag"):
        key, value = f"{key}.name", _at(composed.config, keys)["name"]
        messages, where = [f"should be one of {', '.join(names)}"], composed.origin(key)
    shown = f"={as_typed(value)}" if isinstance(value, str | int | float | None) else ""
    if problem["type"] == "string_type" and isinstance(value, float):
        messages = ["should be a text, and a number is one in quotes"]
    return f"{key}{shown}: {' or '.join(dict.fromkeys(messages))} ({where}){closest(str(value), names)}"


def _at(config: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        config = config[key]
    return config


def _fields(schema: type[BaseModel], keys: Sequence[str | int], config: Any) -> list[str]:
    """Return the names that the schemas have at a path of the config, including those without a value."""
    models: list[type[BaseModel]] = [schema]
    named = False  # whether the next key is one of a mapping's own
    for key in keys:
        config = config[key]
        if isinstance(key, str) and named:
            named = False
        elif isinstance(key, str):
            fields = [model.model_fields[key] for model in models if key in model.model_fields]
            models = [member for field in fields for member in _members(field.annotation)]
            named = any(get_origin(part) is dict for field in fields for part in _parts(field.annotation))
    name = config.get("name")
    chosen = [
        model
        for model in models
        if "name" in model.model_fields and name in get_args(model.model_fields["name"].annotation)
    ]
    return [field.alias or key for model in chosen or models for key, field in model.model_fields.items()]


def _parts(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    return (annotation,) if get_origin(annotation) is dict else (annotation, *get_args(annotation))


def _members(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [member for part in get_args(annotation) for member in _members(part)]


def _missing(keys: list[str | int], composed: Composed) -> str:
    """Return the line for a missing key: it was deleted, or only another optimizer than the chosen one sets it."""
    key = ".".join(map(str, keys))
    group = str(keys[0])
    parent = _at(composed.config, keys[:-1])
    origin = composed.origin(f"{group}.name")
    name = parent.get("name") if isinstance(parent, Mapping) else None
    if group in ("optimizer", "scheduler") and origin.startswith("set on the command line"):
        return f"{key} is missing for {group}.name={name} ({origin}); {group}={name} brings all of its settings"
    return f"{key} is missing ({composed.origin(key)})"
