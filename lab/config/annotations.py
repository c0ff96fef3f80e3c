"""Finds which values an annotation allows, from its text in a source or from the text of an imported annotation.

``Annotated[int, Ge(1)] | None`` and aliases of such types (``lab.ranges.Size``, a module's own
``Policy = Literal["a", "b"]``) become a type that pydantic checks values against. A part that cannot be resolved from
the text (a class, a call, a name from elsewhere) allows any value.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import annotated_types

Lookup = Callable[[str, str], "tuple[str, ast.expr | ast.ClassDef] | None"]
"""Follows a name of a module to its value or class, and returns it with the module that defines it."""

_PLAIN: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "list": list,
    "Sequence": list,
    "Collection": list,
    "Iterable": list,
    "dict": dict,
    "Mapping": dict,
}
_MARKS: dict[str, Any] = {
    name: getattr(annotated_types, name) for name in ("Ge", "Gt", "Le", "Lt", "Len", "MinLen", "MaxLen", "MultipleOf")
}
_RELATIONS = ("AtMost", "Below", "Divides")
_DEEPEST = 12


@dataclass(frozen=True)
class TypeHint:
    """An annotation in a module's source.

    Attributes:
        expression: its syntax tree.
        module: the module in which its names are looked up.
    """

    expression: ast.expr
    module: str


def problems(annotation: TypeHint, value: Any, lookup: Lookup) -> list[Any]:
    """Return pydantic's errors for a value of a config; none if the annotation cannot be resolved from the text."""
    kind = _compile(annotation.expression, annotation.module, lookup, 0)
    if kind is Any:
        return []
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # at the top it would double the time of list_models

    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        TypeAdapter(kind, config=config).validate_python(value)
    except ValidationError as error:
        return list(error.errors())
    return []


def relations(annotation: TypeHint, lookup: Lookup) -> Iterator[tuple[str, str]]:
    """Yield the marks ``AtMost``, ``Below`` and ``Divides`` of an annotation with the argument that each names."""
    for call in _marks(annotation, lookup):
        if _last(call.func) in _RELATIONS:
            yield _last(call.func), _values(call)[0]


def options_class(annotation: TypeHint, lookup: Lookup) -> tuple[str, ast.ClassDef] | None:
    """Return the dataclass, and its module, whose fields a mapping marked ``Options(...)`` takes."""
    for call in _marks(annotation, lookup):
        if _last(call.func) == "Options" and call.args and isinstance(call.args[0], ast.Name):
            found = lookup(annotation.module, call.args[0].id)
            if found is not None and isinstance(found[1], ast.ClassDef):
                return found[0], found[1]
    return None


def allowed_words(annotation: TypeHint, lookup: Lookup) -> list[str]:
    """Return the words of the annotation's ``Literal`` and ``OneOf``."""
    node, module = _followed(annotation.expression, annotation.module, lookup)
    return [item.value for item in _words(node, module, lookup) if isinstance(item.value, str)]


def shown(annotation: TypeHint, lookup: Lookup) -> str:
    """Return an annotation as a user should read it: aliases resolved, marks left out."""
    node, module = _followed(annotation.expression, annotation.module, lookup)
    return ast.unparse(_Plainer(module, lookup).visit(ast.parse(ast.unparse(node), mode="eval").body))


class _Plainer(ast.NodeTransformer):
    def __init__(self, module: str, lookup: Lookup) -> None:
        self.module, self.lookup = module, lookup

    def visit_Name(self, node: ast.Name) -> ast.AST:
        followed, module = _followed(node, self.module, self.lookup)
        return node if followed is node else _Plainer(module, self.lookup).visit(followed)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Name(node.attr)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        name, parts = _last(node.value), _elements(node.slice)
        if name in ("Union", "Optional"):
            each = [*parts, ast.Constant(None)] if name == "Optional" else parts
            return self.visit(ast.parse(" | ".join(map(ast.unparse, each)), mode="eval").body)
        if name != "Annotated":
            return self.generic_visit(node)
        first, *marks = parts
        for mark in marks:
            if isinstance(mark, ast.Call) and _last(mark.func) == "OneOf":
                return ast.parse(f"Literal[{', '.join(map(ast.unparse, mark.args))}]", mode="eval").body
        return self.visit(first)


def _words(node: ast.expr, module: str, lookup: Lookup) -> Iterator[ast.Constant]:
    for item in ast.walk(node):
        if isinstance(item, ast.Subscript) and _last(item.value) == "Literal":
            yield from (each for each in _elements(item.slice) if isinstance(each, ast.Constant))
        elif isinstance(item, ast.Call) and _last(item.func) == "OneOf":
            yield from (each for each in item.args if isinstance(each, ast.Constant))
        elif isinstance(item, ast.Name) and item is not node:
            followed, home = _followed(item, module, lookup)
            if followed is not item:
                yield from _words(followed, home, lookup)


def _marks(annotation: TypeHint, lookup: Lookup) -> Iterator[ast.Call]:
    """Yield the calls in an ``Annotated[...]``, without those in aliases that it uses."""
    node, _ = _followed(annotation.expression, annotation.module, lookup)
    for item in ast.walk(node):
        if isinstance(item, ast.Subscript) and _last(item.value) == "Annotated":
            marks = (each for each in _elements(item.slice)[1:] if isinstance(each, ast.Call))
            yield from (each for each in marks if each.args or each.keywords)


def _compile(node: ast.expr, module: str, lookup: Lookup, depth: int) -> Any:
    """Return a type for an annotation; ``Any`` if its text cannot be resolved."""
    node, module = _followed(node, module, lookup)

    def inner(part: ast.expr) -> Any:
        return _compile(part, module, lookup, depth + 1)

    if depth > _DEEPEST:
        return Any
    if (isinstance(node, ast.Constant) and node.value is None) or _last(node) == "NoneType":
        return None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either([inner(node.left), inner(node.right)])
    if not isinstance(node, ast.Subscript):
        return tuple_of([], False) if _last(node) == "tuple" else _PLAIN.get(_last(node), Any)
    name, parts = _last(node.value), _elements(node.slice)
    if name == "Annotated":
        return _marked(inner(parts[0]), parts[1:])
    if name == "Literal":
        values = tuple(part.value for part in parts if isinstance(part, ast.Constant))
        return Literal[values] if len(values) == len(parts) else Any
    if name == "Optional":
        return _either([inner(parts[0]), None])
    if name == "Union":
        return _either([inner(part) for part in parts])
    if name == "tuple":
        endless = isinstance(parts[-1], ast.Constant) and parts[-1].value is Ellipsis
        return tuple_of([inner(part) for part in (parts[:-1] if endless else parts)], endless)
    plain = _PLAIN.get(name, Any)
    if plain is dict and len(parts) == 2:  # null removes an entry that a file has set
        return dict[inner(parts[0]), _either([inner(parts[1]), None])]  # type: ignore[misc]
    return list[inner(parts[0])] if plain is list else plain  # type: ignore[misc]


def tuple_of(kinds: list[Any], endless: bool) -> Any:
    """Return the type of a tuple that is given as a list in a config."""
    from pydantic import Strict

    if not kinds:
        return Annotated[tuple, Strict(False)]
    kind = tuple[kinds[0], ...] if endless else tuple[tuple(kinds)]  # type: ignore[valid-type, misc]
    return Annotated[kind, Strict(False)]


def _either(kinds: list[Any]) -> Any:
    return Any if any(kind is Any for kind in kinds) else reduce(or_, kinds)


def _marked(kind: Any, marks: list[ast.expr]) -> Any:
    for mark in marks:
        if kind is Any or not isinstance(mark, ast.Call):
            continue
        if _last(mark.func) == "OneOf":
            kind = Literal[tuple(_values(mark))]
        elif _last(mark.func) in _MARKS:
            kind = Annotated[kind, _MARKS[_last(mark.func)](*_values(mark))]
    return kind


def _values(mark: ast.Call) -> list[Any]:
    """Return the arguments of a mark, by position or by name: ``Ge(1)`` and ``Ge(ge=1)`` are the same."""
    arguments = [*mark.args, *(item.value for item in mark.keywords)]
    return [ast.literal_eval(argument) for argument in arguments if not isinstance(argument, ast.Name)]


def _followed(node: ast.expr, module: str, lookup: Lookup) -> tuple[ast.expr, str]:
    """Resolve string annotations and aliases, as far as they are expressions."""
    for _ in range(_DEEPEST):
        if isinstance(node, ast.Call) and _last(node.func) == "ForwardRef" and node.args:
            node = node.args[0]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        elif isinstance(node, ast.Name) and node.id not in _PLAIN:
            found = lookup(module, node.id)
            if found is None or not isinstance(found[1], ast.expr):
                break
            module, node = found[0], found[1]
        else:
            break
    return node, module


def _elements(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _last(node: ast.expr) -> str:
    """Return the last part of a name such as ``typing.Literal``; ``""`` if it is no name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float, not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


HOLDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "AtMost": ("must be at most", lambda value, other: value <= other),
    "Below": ("must be below", lambda value, other: value < other),
    "Divides": ("must divide", lambda value, other: other % value == 0),
}
"""For each relation, its words in an error and its check."""
