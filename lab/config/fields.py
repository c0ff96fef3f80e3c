"""The signature of a callable as an object, and that of a dataclass from its fields."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.config.annotations import TypeHint
from lab.config.sources import look_up


@dataclass(frozen=True)
class Signature:
    """The arguments of a class or function.

    Attributes:
        name: its name in an error.
        arguments: the annotation of each argument that may be given by name; None if it has none.
        defaults: the defaults that are plain values, by argument.
        required: the names of arguments without a default.
        by_position: the names of arguments that may be given by position, in their order.
        is_open: whether it accepts any other name too.
    """

    name: str
    arguments: Mapping[str, TypeHint | None]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: Collection[str] = ()
    by_position: Sequence[str] = ()
    is_open: bool = False


def fields_of(module: str, node: ast.ClassDef) -> Signature:
    """Return the fields of a dataclass and its bases as a signature, positional ones first."""
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
    """Return a signature in which each argument of a ``lab.ranges.Flat`` dataclass is replaced by its fields."""
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
    """Return annotation and default of each field, and whether it is keyword-only; fields of the bases first."""
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
    """Whether a class is decorated with ``@dataclass``, with or without arguments."""
    marks = (mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list)
    return any(ast.unparse(mark).rpartition(".")[2] == "dataclass" for mark in marks)


def _is_field(item: ast.AnnAssign) -> bool:
    """Whether an annotated name of a dataclass is an argument: not ``KW_ONLY``, ``ClassVar`` or ``init=False``."""
    if item.value is not None and "init=False" in ast.unparse(item.value):
        return False
    return ast.unparse(item.annotation).partition("[")[0].rpartition(".")[2] not in ("KW_ONLY", "ClassVar")


def plain_values(nodes: Mapping[str, ast.expr]) -> dict[str, Any]:
    """Return the values of those expressions that are literals."""
    values = {}
    for name, node in nodes.items():
        try:
            values[name] = ast.literal_eval(node)
        except ValueError:  # an expression that is no literal
            continue
    return values
