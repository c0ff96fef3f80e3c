"""The one checker of arguments: names, types, ranges and relations, against the signature of a callable.

A ``Signature`` is made from a source text (``lab.config.signatures``: nothing is imported) or from an imported object
(``lab.registry.arguments``). Both are checked by the same rules with the same messages. Only values that a config can
hold are checked: null, booleans, numbers, strings, lists and mappings. The constructor checks all other objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lab.config.annotations import (
    HOLDS,
    TypeHint,
    allowed_words,
    is_number,
    options_class,
    problems,
    relations,
    shown,
)
from lab.config.fields import Signature, fields_of
from lab.config.sources import look_up
from lab.config.wording import as_typed, is_of_type, keys_of, message_of
from lab.errors import ConfigError, closest

NODE_WORDS = frozenset({"_target_", "_args_", "_partial_"})
"""Keys of a node that are not arguments of its target."""


@dataclass(frozen=True)
class Given:
    """Arguments of a call, and how errors name them.

    Attributes:
        path: the dotted path of the arguments in the config.
        arguments: by name; values that a config cannot hold are not checked.
        origin: returns where a dotted key was set; None if this is not known.
        positional: the number of arguments given by position.
        extra: further names that may be given.
        is_whole: whether all required arguments must be given.
        target_key: the key that makes a mapping a node; nodes are checked separately.
    """

    path: str
    arguments: Mapping[str, Any]
    origin: Callable[[str], str] | None = None
    positional: int = 0
    extra: Collection[str] = ()
    is_whole: bool = False
    target_key: str = "_target_"

    def key(self, name: object) -> str:
        """Return the dotted path of an argument."""
        return join_path(self.path, name)

    def place(self, key: str) -> str:
        """Return ``" (where it was set)"``; ``""`` if this is not known."""
        return f" ({self.origin(key)})" if self.origin is not None else ""


def check_arguments(given: Given, signature: Signature) -> None:
    """Refuse unknown or missing arguments, and values of the wrong type or range.

    Raises:
        ConfigError: an argument is unknown, given twice, missing, of the wrong type, out of its range, or does not fit
            another one.
    """
    _check_names(given, signature)
    for key, value in given.arguments.items():
        annotation = signature.arguments.get(key)
        is_node = isinstance(value, Mapping) and given.target_key in value
        if annotation is None or is_node or not is_plain(value):
            continue
        _check_value(given, key, value, annotation, signature.name)
        options = options_class(annotation, look_up)
        if options is not None and isinstance(value, Mapping):
            check_arguments(Given(given.key(key), value, given.origin), fields_of(*options))
    for key, value in given.arguments.items():
        _check_relations(given, key, value, signature)


def _check_names(given: Given, signature: Signature) -> None:
    by_position = signature.by_position[: given.positional]
    for key in given.arguments:
        if key in NODE_WORDS or key in given.extra or signature.is_open:
            continue
        if key not in signature.arguments:
            names = [*signature.arguments, *given.extra]
            near = closest(str(key), names) or f"; it takes {', '.join(signature.arguments) or 'no arguments'}"
            where = given.key(key)
            raise ConfigError(f"{where}: {signature.name} takes no argument {str(key)!r}{given.place(where)}{near}")
    twice = next((key for key in given.arguments if key in by_position), None)
    if twice is not None:
        raise ConfigError(f"{given.key(twice)}: {signature.name} gets {twice!r} twice, by position and by name")
    missing = [key for key in signature.required if key not in given.arguments and key not in by_position]
    if missing and given.is_whole:
        raise ConfigError(f"{given.path or 'config'}: {signature.name} needs {', '.join(map(repr, missing))}")


def _check_value(given: Given, key: str, value: Any, annotation: TypeHint, name: str) -> None:
    found = problems(annotation, as_lists(value), look_up)
    if not found:
        return
    where = given.key(key)
    in_range = [problem for problem in found if not is_of_type(problem)]
    problem = (in_range or found)[0]
    inside = "".join(f".{part}" for part in keys_of(problem, value))
    if in_range or all(keys_of(each, value) for each in found):
        place = given.place(f"{where}{inside}")
        raise ConfigError(f"{where}{inside}={as_typed(problem['input'])}: {message_of(problem)}{place}")
    near = closest(str(value), allowed_words(annotation, look_up))
    quoted = f"; a text that looks like a number is quoted: \"{where}='{value}'\"" if _is_text(found, value) else ""
    told = f"{where}={as_typed(value)}: {name} takes {shown(annotation, look_up)}"
    raise ConfigError(f"{told}{given.place(where)}{near or quoted}")


def _is_text(found: list[Any], value: Any) -> bool:
    return is_number(value) and any(problem["type"] == "string_type" for problem in found)


def _check_relations(given: Given, key: str, value: Any, signature: Signature) -> None:
    """Refuse a value that does not fit another argument's value: it is too large, or does not divide it."""
    annotation = signature.arguments.get(key)
    for mark, other in relations(annotation, look_up) if annotation is not None else ():
        beside = given.arguments.get(other, signature.defaults.get(other))
        words, holds = HOLDS[mark]
        if is_number(value) and is_number(beside) and not holds(value, beside):
            places = {name: given.place(given.key(name)) for name in (key, other)}
            there = places[other] if other in given.arguments else ", its default"
            raise ConfigError(f"{given.key(key)}={value}{places[key]}: {words} {given.key(other)}={beside}{there}")


def is_plain(value: Any) -> bool:
    """Whether a config can hold the value; a tuple counts as a list."""
    if isinstance(value, Mapping):
        return isinstance(value, dict) and all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def as_lists(value: Any) -> Any:
    """Return a plain value with its tuples replaced by lists."""
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return [as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def join_path(path: str, key: object) -> str:
    """Return the dotted path of a key below a path."""
    return f"{path}.{key}" if path else str(key)
