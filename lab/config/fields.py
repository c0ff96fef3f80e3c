"""What a callable takes, as a value; that of a dataclass is read from its fields."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.config.annotations import TypeHint
from lab.config.sources import look_up


@dataclass(frozen=True)
class Signature:
    """What a class or function takes.

    Attributes:
        name: what it is called in an error.
        arguments: the annotation of each argument that may be given by name; None where it has none.
        defaults: of those arguments whose default is a plain value.
        required: the names of those without a default.
        by_position: the names of those that may be given by position, in their order.
        is_open: whether any other name is taken too.
    """

    name: str
    arguments: Mapping[str, TypeHint | None]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: Collection[str] = ()
    by_position: Sequence[str] = ()
    is_open: bool = False


def fields_of(module: str, node: ast.ClassDef) -> Signature:
    """Return the fields of a dataclass, those of its bases too, as a signature: first those that go by position."""
    fields = _all_fields(module, node)
    order = sorted(fields, key=lambda name: fields[name][2])
    defaults = {name: value for name in order if (value := fields[name][1]) is not None}
    return Signature(
        node.name,
        {name: fields[name][0] for name in order},
        plain_values(defaults),
        [name for name in order if name not in defaults],
        [name for name in order if not fields[name][2]],
    )


def spread(signature: Signature) -> Signature:
    """Return a signature with the fields of each dataclass of options (``lab.ranges.Flat``) in that one's place."""
    arguments: dict[str, TypeHint | None] = {}
    defaults = dict(signature.defaults)
    for name, hint in signature.arguments.items():
        found = look_up(hint.module, hint.expression.id) if hint and isinstance(hint.expression, ast.Name) else None
        if found is None or not isinstance(found[1], ast.ClassDef) or "Flat" not in map(ast.unparse, found[1].bases):
            arguments[name] = hint
            continue
        fields = fields_of(found[0], found[1])
        arguments |= fields.arguments
        defaults |= fields.defaults
    return replace(signature, arguments=arguments, defaults=defaults)


def _all_fields(module: str, node: ast.ClassDef) -> dict[str, tuple[TypeHint, ast.expr | None, bool]]:
    """Return annotation and default of each field, and whether it goes by name only; those of the bases first."""
    found: dict[str, tuple[TypeHint, ast.expr | None, bool]] = {}
    for expression in reversed(node.bases):
        base = look_up(module, expression.id) if isinstance(expression, ast.Name) else None
        if base is not None and isinstance(base[1], ast.ClassDef):
            found |= _all_fields(base[0], base[1])
    by_name = any("kw_only=True" in ast.unparse(mark) for mark in node.decorator_list)
    for item in node.body if is_dataclass(node) else ():
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            by_name |= "KW_ONLY" in ast.unparse(item.annotation)
            if _is_field(item):
                found[item.target.id] = (TypeHint(item.annotation, module), item.value, by_name)
    return found


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether ``@dataclass``, with or without arguments, stands above a class."""
    marks = (mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list)
    return any(ast.unparse(mark).rpartition(".")[2] == "dataclass" for mark in marks)


def _is_field(item: ast.AnnAssign) -> bool:
    """Whether an annotated name of a dataclass is an argument of it: no ``KW_ONLY``, ``ClassVar`` or ``init=False``."""
    if item.value is not None and "init=False" in ast.unparse(item.value):
        return False
    return ast.unparse(item.annotation).partition("[")[0].rpartition(".")[2] not in ("KW_ONLY", "ClassVar")


def plain_values(nodes: Mapping[str, ast.expr]) -> dict[str, Any]:
    """Return the values of those expressions that are literals."""
    values = {}
    for name, node in nodes.items():
        try:
            values[name] = ast.literal_eval(node)
        except ValueError:  # an expression: what it gives is not told by its text
            continue
    return values
