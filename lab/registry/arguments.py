"""What a callable takes: arguments are checked before it is called, and every error names the closest right ones."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from lab.errors import ConfigError, closest
from lab.ranges import Flat

Made = TypeVar("Made")


def check_arguments(call: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    """Refuse arguments that ``call`` does not take, naming the closest ones it does.

    Raises:
        ConfigError: an argument is unknown, or a required one is missing.
    """
    check_call(call, arguments, where, getattr(call, "__qualname__", str(call)))


def check_call(
    call: Callable[..., Any],
    arguments: Mapping[str, Any],
    path: str,
    name: str,
    positional: Sequence[Any] = (),
    extra: Collection[str] = (),
    partial: bool = False,
) -> None:
    """Refuse what ``call`` does not take.

    Args:
        call: a class or function.
        arguments: by name.
        path: where they stand in the config.
        name: what ``call`` is called in an error.
        positional: arguments by position.
        extra: further names that may be given.
        partial: whether required ones may be missing.

    Raises:
        ConfigError: an argument is unknown or given twice, or a required one is missing.
    """
    try:
        parameters = inspect.signature(call).parameters
    except ValueError:  # some functions written in C have no signature
        return
    taken = [item for item in parameters.values() if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    by_position = {item.name for item in taken[: len(positional)]}
    names, forwards = names_of(call, parameters)
    if not forwards:
        for key in arguments:
            if key not in names and key not in extra:
                hint = closest(str(key), [*names, *extra]) or f"; it takes {', '.join(names) or 'no arguments'}"
                raise ConfigError(f"{join_path(path, key)}: {name} takes no argument {str(key)!r}{hint}")
    clash = next((key for key in arguments if key in by_position), None)
    if clash is not None:
        raise ConfigError(f"{join_path(path, clash)}: {name} gets {clash!r} twice, by position and by name")
    required = [item.name for item in parameters.values() if item.name in names and item.default is item.empty]
    missing = [key for key in required if key not in arguments and key not in by_position]
    if missing and not partial:
        raise ConfigError(f"{path or 'config'}: {name} needs {', '.join(map(repr, missing))}")


def names_of(call: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> tuple[list[str], bool]:
    """Return the names that may be given, and whether any other may too."""
    names = [item.name for item in parameters.values() if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    forwards = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    names = [each for name in names for each in _fields_of(parameters[name]) or [name]]
    returned = _returned_class(call) if forwards else None
    if returned is None:
        return names, forwards
    # an entry function hands its **overrides on to the class it returns
    taken, _ = names_of(returned, inspect.signature(returned).parameters)
    return [*names, *(key for key in taken if key not in names)], False


def _fields_of(parameter: inspect.Parameter) -> list[str]:
    """Return the names that are given in the place of an argument whose default is ``Flat``; none for any other."""
    return [field.name for field in fields(parameter.default)] if isinstance(parameter.default, Flat) else []  # type: ignore[arg-type]


def gathered(call: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with those that are fields of a ``Flat`` one put together, as ``call`` takes them."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except ValueError:  # some functions written in C have no signature
        return dict(arguments)
    found = dict(arguments)
    for parameter in parameters:
        given = {name: found.pop(name) for name in _fields_of(parameter) if name in found}
        if given:
            found[parameter.name] = replace(found.get(parameter.name, parameter.default), **given)
    return found


def build_variant(kind: type[Made], name: str, overrides: Mapping[str, Any], **defaults: Any) -> Made:
    """Build an architecture from a registered name's defaults and a caller's overrides.

    Raises:
        ConfigError: it takes no such argument.
    """
    check_arguments(kind, overrides, name)
    return kind(**gathered(kind, {**defaults, **overrides}))


def _returned_class(call: Callable[..., Any]) -> type | None:
    """Return the class that a function is annotated to return, if its constructor names all of its arguments."""
    classes = hinted_classes(call)
    returned = classes[0] if len(classes) == 1 else None
    try:
        parameters = inspect.signature(returned).parameters.values() if returned is not None else ()
    except ValueError:  # a class written in C
        return None
    return returned if parameters and not any(item.kind is item.VAR_KEYWORD for item in parameters) else None


def hinted_classes(call: Callable[..., Any]) -> tuple[type, ...]:
    """Return the classes that a function is annotated to return, if they are nothing but classes."""
    if not inspect.isfunction(call):
        return ()
    try:
        returned = typing.get_type_hints(call).get("return")
    except NameError:  # a name that stands under TYPE_CHECKING only
        return ()
    parts = typing.get_args(returned) if isinstance(returned, types.UnionType) else (returned,)
    return tuple(parts) if all(map(inspect.isclass, parts)) else ()


def join_path(path: str, key: object) -> str:
    """Return the dotted path of a key below a path."""
    return f"{path}.{key}" if path else str(key)
