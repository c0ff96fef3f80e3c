"""Check the arguments of a ``_target_`` against its signature without importing it.

The source file is found and parsed, never run, so that a misspelt argument is refused before torch is imported.
Where the text alone cannot tell (star imports, ``**kwargs``, compiled modules), nothing is refused here.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, closest

Definition = ast.ClassDef | ast.FunctionDef
_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "tuple": (list,),
    "Sequence": (list,),
    "dict": (dict,),
    "Mapping": (dict,),
}


@dataclass(frozen=True)
class Signature:
    """The arguments of a class or function, with their annotations as they stand in the source."""

    name: str
    arguments: Mapping[str, ast.expr | None]


def check_arguments(
    path: str,
    arguments: Mapping[str, Any],
    signature: Signature,
    origin: Callable[[str], str],
    extra: Collection[str] = (),
) -> None:
    """Refuse arguments that the target does not take, or whose plain type is another.

    Args:
        path: the dotted path of the node in the config, for the message.
        arguments: the arguments given; keys that begin with an underscore are left out.
        signature: what the target takes.
        origin: says where a dotted key was set.
        extra: further names that may be given.

    Raises:
        ConfigError: an argument is unknown or of the wrong type.
    """
    for key, value in arguments.items():
        if key.startswith("_") or key in extra:
            continue
        where = f"{path}.{key}"
        if key not in signature.arguments:
            near = closest(key, signature.arguments) or f"; it takes {', '.join(signature.arguments)}"
            raise ConfigError(f"{where}: {signature.name} takes no argument {key!r} ({origin(where)}){near}")
        annotation = signature.arguments[key]
        allowed = _plain_types(annotation)
        if annotation is None or allowed is None or (isinstance(value, dict) and "_target_" in value):
            continue
        if not any(_is(value, kind) for kind in allowed):
            shown = "null" if value is None else value
            words = [word for kind in allowed if isinstance(kind, tuple) for word in kind if isinstance(word, str)]
            raise ConfigError(
                f"{where}={shown}: {signature.name} takes {ast.unparse(annotation)} ({origin(where)})"
                f"{closest(str(value), words)}"
            )


def _is(value: Any, kind: Any) -> bool:
    if kind is None or value is None:
        return kind is value
    if isinstance(kind, tuple):
        return value in kind
    return kind is bool if isinstance(value, bool) else isinstance(value, kind)


def _plain_types(node: ast.expr | None) -> list[Any] | None:
    """Return the types (None, a type, or a tuple of literals) that an annotation allows; None if it is not plain."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    if isinstance(node, ast.Constant) and node.value is None:
        return [None]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _plain_types(node.left), _plain_types(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.Subscript):
        if ast.unparse(node.value).endswith("Literal"):
            elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return [tuple(element.value for element in elements if isinstance(element, ast.Constant))]
        node = node.value
    return list(_PLAIN[node.id]) if isinstance(node, ast.Name) and node.id in _PLAIN else None


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


def find_module(module: str) -> Path | None:
    """Return the file of a module without importing it or its parents; None where there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # an empty name
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else Path(next(iter(spec.submodule_search_locations or [top])))
    for folder in spec.submodule_search_locations or []:
        path = Path(folder, *rest)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if os.path.isfile(file):  # noqa: PTH113 - of a name too long for a path it is False, no error
                return file
    return None


@cache
def parse(file: Path) -> ast.Module | None:
    """Return the syntax tree of a source file; None where it is none or has a mistake."""
    try:
        return ast.parse(file.read_text(encoding="utf-8")) if file.suffix == ".py" else None
    except SyntaxError:  # importing it will say so, with the line
        return None


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those below ``if`` and ``try`` too."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from statements([*node.body, *node.orelse])


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


def absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    """Return the module that an ``import from`` names, its dots resolved."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + (file.name == "__init__.py")]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _signature(module: str, node: Definition) -> Signature | None:
    """Return what a definition takes; an entry function with ``**overrides`` takes what its class takes."""
    function, name = node, node.name
    if isinstance(node, ast.ClassDef):
        found = next(
            (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None
        )
        if found is None:
            base = node.bases[0] if len(node.bases) == 1 and not node.decorator_list else None
            return _named(module, base, name)
        function = found
    assert isinstance(function, ast.FunctionDef)
    taken = {arg.arg: arg.annotation for arg in [*function.args.args, *function.args.kwonlyargs]}
    if function is not node:
        taken.pop(function.args.args[0].arg)  # self
    if function.args.kwarg is None:
        return Signature(name, taken)
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
    return Signature(name, signature.arguments) if signature is not None else None
