"""The parameters of a tool: plain values, checked against the annotations of its dataclass.

A parameter is a number (with a range of ``lab.ranges``), a word, a text, a tuple, another such dataclass, None or a
nested script (``tuple[Tool, ...]``). What a script's file says and what Python says is checked here, in the same way.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le, Lt, MinLen

from lab.errors import GeometryError, closest
from lab.geometry.words import tool_from

_Coordinate = Annotated[float, Ge(-1e6), Le(1e6)]
Vector = tuple[_Coordinate, _Coordinate, _Coordinate]
"""x, y, z, each a million at most, so that no product of them overflows."""


class Parameters:
    """Base of a frozen dataclass of plain values: they are checked, and lists become tuples, when it is made."""

    def __post_init__(self) -> None:
        for name, hint in parameter_hints(type(self)).items():
            try:
                object.__setattr__(self, name, checked(getattr(self, name), hint))
            except GeometryError as error:
                raise error.within(name) from error
        self.check()

    def check(self) -> None:
        """Refuse values that cannot be together.

        Raises:
            GeometryError: with the name of a parameter as its path.
        """

    def values(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in parameter_hints(type(self))}

    @classmethod
    def of(cls, values: Mapping[Any, Any]) -> Any:
        """Return an instance with these values by name.

        Raises:
            GeometryError: there is no such parameter, one without a default is missing, or a value cannot be.
        """
        fields = parameter_hints(cls)
        for name in values:
            if name not in fields:
                known = closest(str(name), fields) or f"; there are {', '.join(fields)}"
                raise GeometryError(f"there is no such parameter{known}", str(name))
        for name in fields:
            if name not in values and name not in defaults(cls):
                raise GeometryError("is missing and has no default", name)
        return cls(**values)


_HINTS: dict[type, dict[str, Any]] = {}


def parameter_hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a class's parameters, its own before those of its bases."""
    if kind not in _HINTS:
        hints = get_type_hints(kind, include_extras=True)
        fields = {field.name for field in dataclasses.fields(kind)}
        # A class's own parameters stand before those of its bases.
        names = [name for base in kind.__mro__ for name in vars(base).get("__annotations__", ()) if name in fields]
        _HINTS[kind] = {name: hints[name] for name in dict.fromkeys(names)}
    return _HINTS[kind]


def checked(value: Any, hint: Any) -> Any:
    """Return a value as its annotation has it: an int for a float becomes one, a list a tuple.

    Args:
        value: what a person wrote.
        hint: see the module.

    Raises:
        GeometryError: it cannot be; the path leads to the part that is wrong.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        base, *marks = get_args(hint)
        return _ranged(checked(value, base), marks)
    if origin is Literal:
        return _one_of(value, get_args(hint))
    if origin in (Union, types.UnionType):
        rest = [part for part in get_args(hint) if part is not types.NoneType]
        return None if value is None else checked(value, rest[0])
    if origin is tuple:
        return _tuple(value, get_args(hint))
    if hasattr(hint, "apply"):
        return value if isinstance(value, hint) else tool_from(value)
    if isinstance(hint, type) and issubclass(hint, Parameters):
        return _nested(value, hint)
    return _plain(value, hint)


def _plain(value: Any, hint: Any) -> Any:
    if hint is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # of a whole number without a bound
            number = math.inf
        if not math.isfinite(number):
            raise GeometryError(f"must be a finite number, not {_shown(value)}")
        return number
    if hint is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    raise GeometryError(f"must be {names[hint]}, not {_shown(value)}")


def _ranged(value: Any, marks: Sequence[Any]) -> Any:
    for mark in marks:
        match mark:
            case Ge(ge=bound) if not value >= bound:
                raise GeometryError(f"must be at least {bound}, not {value}")
            case Gt(gt=bound) if not value > bound:
                raise GeometryError(f"must be above {bound}, not {value}")
            case Le(le=bound) if not value <= bound:
                raise GeometryError(f"must be at most {bound}, not {value}")
            case Lt(lt=bound) if not value < bound:
                raise GeometryError(f"must be below {bound}, not {value}")
            case MinLen(min_length=count) if len(value) < count:
                raise GeometryError(f"must have at least {count} parts, not {len(value)}")
    return value


def _one_of(value: Any, words: tuple[Any, ...]) -> Any:
    if value not in words:
        raise GeometryError(f"must be {', '.join(map(str, words))}, not {_shown(value)}{closest(str(value), words)}")
    return value


def _tuple(value: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise GeometryError(f"must be a list, not {_shown(value)}")
    hints = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
    if len(value) != len(hints):
        raise GeometryError(f"must be {len(hints)} values, not {len(value)}")
    found = []
    for index, (item, hint) in enumerate(zip(value, hints, strict=True)):
        try:
            found.append(checked(item, hint))
        except GeometryError as error:
            raise error.within(index) from error
    return tuple(found)


def _nested(value: Any, kind: type[Parameters]) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        names = ", ".join(parameter_hints(kind))
        raise GeometryError(f"must be a mapping of {names}, not {_shown(value)}")
    return kind.of(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain(value: Any) -> Any:
    """Return a parameter's value as lists, mappings and scalars: what a file holds; defaults are left out."""
    if hasattr(value, "word"):
        inner = plain_fields(value)
        return {value.word: inner} if inner else value.word
    if isinstance(value, Parameters):
        return plain_fields(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def plain_fields(value: Parameters) -> dict[str, Any]:
    """Return the parameters that differ from their defaults, as ``plain`` has them."""
    return {name: plain(current) for name, current in changed_fields(value).items()}


def changed_fields(value: Parameters) -> dict[str, Any]:
    """Return the parameters that differ from their defaults, by name."""
    usual = defaults(type(value))
    return {name: current for name, current in value.values().items() if name not in usual or current != usual[name]}


def defaults(kind: type[Parameters]) -> dict[str, Any]:
    """Return the parameters that have a default, with it."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # subclasses are dataclasses
    found = {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in fields
    }
    return {name: found[name] for name in parameter_hints(kind) if found[name] is not dataclasses.MISSING}
