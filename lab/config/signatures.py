"""Check the arguments of a ``_target_`` against its signature without importing it.

The source file is found and parsed, never run, so that a misspelt argument is refused before torch is imported.
Where the text alone cannot tell (star imports, ``**kwargs``, compiled modules), nothing is refused here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.config.annotations import (
    HOLDS,
    Annotation,
    allowed_words,
    is_number,
    options_class,
    problems,
    relations,
    shown,
)
from lab.config.problems import as_typed, is_of_type, keys_of, message_of
from lab.config.sources import absolute, find_module, look_up, parse, statements
from lab.errors import ConfigError, closest

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Signature:
    """The arguments of a class or function, with their annotations as they stand in the source.

    Attributes:
        name: of the class or function.
        arguments: the annotation of each argument; None where it has none.
        defaults: of those arguments whose default is a plain value.
    """

    name: str
    arguments: Mapping[str, Annotation | None]
    defaults: Mapping[str, Any] = field(default_factory=dict)


def check_arguments(
    path: str,
    arguments: Mapping[str, Any],
    signature: Signature,
    origin: Callable[[str], str],
    extra: Collection[str] = (),
) -> None:
    """Refuse arguments that the target does not take, or whose type or range is another.

    Args:
        path: the dotted path of the node in the config, for the message.
        arguments: the arguments given; keys that begin with an underscore are left out.
        signature: what the target takes.
        origin: says where a dotted key was set.
        extra: further names that may be given.

    Raises:
        ConfigError: an argument is unknown, of the wrong type or out of its range.
    """
    given = {key: value for key, value in arguments.items() if not key.startswith("_") and key not in extra}
    for key, value in given.items():
        where = f"{path}.{key}"
        if key not in signature.arguments:
            near = closest(key, signature.arguments) or f"; it takes {', '.join(signature.arguments)}"
            raise ConfigError(f"{where}: {signature.name} takes no argument {key!r} ({origin(where)}){near}")
        annotation = signature.arguments[key]
        if annotation is None or (isinstance(value, dict) and "_target_" in value):
            continue
        _check_value(where, value, annotation, signature.name, origin)
        options = options_class(annotation, look_up)
        if options is not None and isinstance(value, Mapping):
            check_arguments(where, value, _fields(*options), origin)
    for key, value in given.items():
        _check_relations(path, key, value, signature, given, origin)


def _check_value(where: str, value: Any, annotation: Annotation, name: str, origin: Callable[[str], str]) -> None:
    found = problems(annotation, value, look_up)
    if not found:
        return
    in_range = [problem for problem in found if not is_of_type(problem)]
    problem = (in_range or found)[0]
    inside = "".join(f".{part}" for part in keys_of(problem, value))
    if in_range or all(keys_of(each, value) for each in found):
        raise ConfigError(
            f"{where}{inside}={as_typed(problem['input'])}: {message_of(problem)} ({origin(f'{where}{inside}')})"
        )
    near = closest(str(value), allowed_words(annotation, look_up))
    quoted = f"; a text that looks like a number is quoted: \"{where}='{value}'\"" if _is_text(found, value) else ""
    raise ConfigError(
        f"{where}={as_typed(value)}: {name} takes {shown(annotation, look_up)} ({origin(where)}){near or quoted}"
    )


def _is_text(found: list[Any], value: Any) -> bool:
    return is_number(value) and any(problem["type"] == "string_type" for problem in found)


def _check_relations(
    path: str,
    key: str,
    value: Any,
    signature: Signature,
    given: Mapping[str, Any],
    origin: Callable[[str], str],
) -> None:
    """Refuse a value that does not go with that of another argument: above it, or no divisor of it."""
    annotation = signature.arguments[key]
    for mark, other in relations(annotation, look_up) if annotation is not None else ():
        beside = given.get(other, signature.defaults.get(other))
        words, holds = HOLDS[mark]
        if is_number(value) and is_number(beside) and not holds(value, beside):
            places = {name: origin(f"{path}.{name}") for name in (key, other)}
            there = f" ({places[other]})" if other in given else ", its default"
            raise ConfigError(f"{path}.{key}={value} ({places[key]}): {words} {path}.{other}={beside}{there}")


def find_signature(target: str) -> Signature | None:
    """Return the signature of a dotted path; None where the source text cannot tell.

    Raises:
        LookupError: there is no such module, or no such name in it; with what is wrong and the closest names.
    """
    parts = target.split(".")
    if not all(parts):
        raise LookupError(f"{target!r} is no dotted path", "")
    count = next((n for n in range(len(parts) - 1, 0, -1) if find_module(".".join(parts[:n]))), 0)
    if not count:
        raise LookupError(f"there is no package {parts[0]!r}", "")
    module, name = ".".join(parts[:count]), parts[count]
    found = _find(module, name)
    return _signature(*found) if found is not None and count == len(parts) - 1 else None


def _find(module: str, name: str, depth: int = 0) -> tuple[str, Definition] | None:
    """Follow a name to its definition and module; None where it cannot be told.

    Raises:
        LookupError: the module has no such name; with what is wrong and the closest names.
    """
    file = find_module(module)
    tree = parse(file) if file is not None else None
    if file is None or tree is None or depth > 8:
        return None
    known: dict[str, None] = {}
    unsure = False
    for node in statements(tree.body):
        if isinstance(node, Definition):
            if node.name == name:
                return module, node
            unsure |= node.name == "__getattr__"
            known[node.name] = None
        elif isinstance(node, ast.ImportFrom):
            unsure |= any(alias.name == "*" for alias in node.names)
            alias = next((alias for alias in node.names if (alias.asname or alias.name) == name), None)
            if alias is not None:
                source = absolute(node, module, file)
                return None if find_module(f"{source}.{alias.name}") else _find(source, alias.name, depth + 1)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.Import):
            unsure |= name in ast.unparse(node)
    if unsure:
        return None
    below = [path.stem for path in file.parent.iterdir()] if file.name == "__init__.py" else []
    public = [item for item in [*known, *below] if not item.startswith("_")]
    raise LookupError(f"{module} has no {name!r}", closest(name, public))


def _fields(module: str, node: ast.ClassDef) -> Signature:
    """Return the fields of a dataclass, those of its bases too, as a signature: first those that go by position."""
    fields = _all_fields(module, node)
    order = sorted(fields, key=lambda name: fields[name][2])
    defaults = {name: value for name in order if (value := fields[name][1]) is not None}
    return Signature(node.name, {name: fields[name][0] for name in order}, _plain_values(defaults))


def _all_fields(module: str, node: ast.ClassDef) -> dict[str, tuple[Annotation, ast.expr | None, bool]]:
    """Return annotation and default of each field, and whether it goes by name only; those of the bases first."""
    found: dict[str, tuple[Annotation, ast.expr | None, bool]] = {}
    for expression in reversed(node.bases):
        base = look_up(module, expression.id) if isinstance(expression, ast.Name) else None
        if base is not None and isinstance(base[1], ast.ClassDef):
            found |= _all_fields(base[0], base[1])
    by_name = any("kw_only=True" in ast.unparse(mark) for mark in node.decorator_list)
    for item in node.body if _is_dataclass(node) else ():
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            by_name |= "KW_ONLY" in ast.unparse(item.annotation)
            if _is_field(item):
                found[item.target.id] = (Annotation(item.annotation, module), item.value, by_name)
    return found


def _is_dataclass(node: ast.ClassDef) -> bool:
    """Whether ``@dataclass``, with or without arguments, stands above a class."""
    marks = (mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list)
    return any(ast.unparse(mark).rpartition(".")[2] == "dataclass" for mark in marks)


def _is_field(item: ast.AnnAssign) -> bool:
    """Whether an annotated name of a dataclass is an argument of it: no ``KW_ONLY``, ``ClassVar`` or ``init=False``."""
    if item.value is not None and "init=False" in ast.unparse(item.value):
        return False
    return ast.unparse(item.annotation).partition("[")[0].rpartition(".")[2] not in ("KW_ONLY", "ClassVar")


def _plain_values(nodes: Mapping[str, ast.expr]) -> dict[str, Any]:
    values = {}
    for name, node in nodes.items():
        try:
            values[name] = ast.literal_eval(node)
        except ValueError:  # an expression: what it gives is not told by its text
            continue
    return values


def _signature(module: str, node: Definition) -> Signature | None:
    """Return what a definition takes; an entry function with ``**overrides`` takes what its class takes."""
    function, name = node, node.name
    if isinstance(node, ast.ClassDef):
        found = next(
            (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None
        )
        if found is None and _is_dataclass(node):
            return _fields(module, node)
        if found is None:
            base = node.bases[0] if len(node.bases) == 1 and not node.decorator_list else None
            return _named(module, base, name)
        function = found
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    taken = {
        arg.arg: Annotation(arg.annotation, module) if arg.annotation is not None else None
        for arg in [*given.args, *given.kwonlyargs]
    }
    if function is not node:
        taken.pop(given.args[0].arg)  # self
    if given.kwarg is None:
        last = zip(reversed(given.args), reversed(given.defaults), strict=False)
        named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
        defaults = {arg.arg: value for arg, value in [*last, *named] if value is not None}
        return Signature(name, taken, _plain_values(defaults))
    # An entry function has defaults of its own in the place of its class's.
    returned = _named(module, function.returns, name) if function is node else None
    return Signature(name, {**returned.arguments, **taken}) if returned is not None else None


def _named(module: str, expression: ast.expr | None, name: str) -> Signature | None:
    """Return the signature of the class that an expression of ``module`` names, under another name."""
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        expression = ast.parse(expression.value, mode="eval").body
    if not isinstance(expression, ast.Name):
        return None
    try:
        found = _find(module, expression.id)
    except LookupError:  # a builtin
        return None
    signature = _signature(*found) if found is not None and isinstance(found[1], ast.ClassDef) else None
    return Signature(name, signature.arguments, signature.defaults) if signature is not None else None
