"""The signature of an imported callable, by introspection; arguments are checked against it before the call."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from lab.config.annotations import TypeHint
from lab.config.arguments import Given, check_arguments, is_plain
from lab.config.fields import Signature, spread
from lab.ranges import Flat

Made = TypeVar("Made")

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_call(
    call: Callable[..., Any],
    arguments: Mapping[str, Any],
    path: str,
    name: str | None = None,
    positional: int = 0,
    extra: Collection[str] = (),
    is_whole: bool = True,
    target_key: str = "_target_",
) -> None:
    """Refuse arguments that ``call`` does not accept.

    Args:
        call: a class or function.
        arguments: by name.
        path: the dotted path of the arguments in the config.
        name: the name of ``call`` in an error; its own name if None.
        positional: the number of arguments given by position.
        extra: further names that may be given.
        is_whole: whether all required arguments must be given.
        target_key: the key that makes a mapping a node.

    Raises:
        ConfigError: an argument is unknown, given twice, missing, of the wrong type or out of its range.
    """
    signature = signature_of(call, name)
    if signature is not None:
        given = Given(path, arguments, None, positional, extra, is_whole, target_key)
        check_arguments(given, signature)


def signature_of(call: Callable[..., Any], name: str | None = None) -> Signature | None:
    """Return the signature of a callable; None for functions written in C without one.

    An entry function passes its ``**overrides`` to the class that it returns, so it has that class's arguments too.

    Args:
        call: a class or function.
        name: its name in an error; its own name if None.
    """
    try:
        parameters = inspect.signature(call).parameters.values()
    except ValueError:
        return None
    own = [item for item in parameters if item.kind in _NAMED]
    is_open = any(item.kind is item.VAR_KEYWORD for item in parameters)
    returned = _returned_class(call) if is_open else None
    beneath = signature_of(returned) if returned is not None else None
    signature = Signature(
        name or str(getattr(call, "__qualname__", call)),
        {**(beneath.arguments if beneath else {}), **{item.name: _annotation(item, call) for item in own}},
        {item.name: item.default for item in own if item.default is not item.empty and is_plain(item.default)},
        [item.name for item in own if item.default is item.empty],
        [item.name for item in parameters if item.kind in _BY_POSITION],
        is_open and beneath is None,
    )
    return spread(signature)


def gathered(call: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as ``call`` takes them: fields of a ``Flat`` dataclass are collected into that dataclass."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except ValueError:  # written in C
        return dict(arguments)
    found = dict(arguments)
    for parameter in parameters:
        if not isinstance(parameter.default, Flat):
            continue
        names = [field.name for field in dataclasses.fields(parameter.default)]  # type: ignore[arg-type]
        given = {name: found.pop(name) for name in names if name in found}
        if given:
            options: Any = found.get(parameter.name, parameter.default)
            found[parameter.name] = dataclasses.replace(options, **given)
    return found


def build_variant(kind: type[Made], name: str, overrides: Mapping[str, Any], **defaults: Any) -> Made:
    """Build an architecture from a registered name's defaults and a caller's overrides.

    Raises:
        ConfigError: the architecture takes no such argument.
    """
    check_call(kind, overrides, name)
    return kind(**gathered(kind, {**defaults, **overrides}))


def _annotation(parameter: inspect.Parameter, call: Callable[..., Any]) -> TypeHint | None:
    """Return an annotation as its source text, or a text made from the object; None if there is none."""
    if parameter.annotation is parameter.empty:
        return None
    written = parameter.annotation
    text = written if isinstance(written, str) else inspect.formatannotation(written)
    try:
        return TypeHint(ast.parse(text, mode="eval").body, _home(call, parameter.name))
    except SyntaxError:  # an object whose repr is no expression
        return None


def _home(call: Callable[..., Any], argument: str) -> str:
    """Return the module in which an argument's annotation is written."""
    if inspect.isclass(call):
        if dataclasses.is_dataclass(call):
            for each in call.__mro__:  # the field may belong to a base
                if argument in vars(each).get("__annotations__", {}):
                    return each.__module__
        call = getattr(call, "__init__", call)
    return str(getattr(inspect.unwrap(call), "__module__", ""))


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
    except NameError:  # a name that is imported under TYPE_CHECKING only
        return ()
    parts = typing.get_args(returned) if isinstance(returned, types.UnionType) else (returned,)
    return tuple(parts) if all(map(inspect.isclass, parts)) else ()
