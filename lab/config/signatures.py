"""Check the arguments of a ``_target_`` against its signature without importing it.

The source file is found and parsed, never run, so that a misspelt argument is refused before torch is imported.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, closest

_SIMPLE = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def check_arguments(path: str, node: dict[str, Any], ignore: frozenset[str] = frozenset()) -> None:
    """Refuse arguments that the target does not take, or whose plain type is another.

    Args:
        path: the dotted path of the node in the config, for the message.
        node: the node: ``_target_`` and its arguments.
        ignore: keys that are not arguments.

    Raises:
        ConfigError: the target does not exist, an argument is unknown or of the wrong type.
    """
    target = node["_target_"]
    if not isinstance(target, str) or "." not in target:
        return  # a registered name: the registry answers for it
    module, _, name = target.rpartition(".")
    arguments = _signature(module, name, path)
    if arguments is None:
        return
    for key, value in node.items():
        if key in ignore or key.startswith("_"):
            continue
        if key not in arguments:
            near = closest(key, arguments) or f"; it takes {', '.join(arguments)}"
            raise ConfigError(f"{path}.{key}: {name} takes no argument {key!r}{near}")
        allowed = _plain_types(arguments[key])
        if allowed is not None and not any(_is(value, kind) for kind in allowed):
            raise ConfigError(f"{path}.{key}={value}: {name} wants {ast.unparse(arguments[key] or ast.Constant(None))}")


def _is(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple) and kind and kind[0] == "literal":
        return value in kind[1]
    if isinstance(value, bool):
        return kind is bool
    return value is None if kind is None else isinstance(value, kind)


def _plain_types(node: ast.expr | None) -> list[Any] | None:
    """Return the plain types that an annotation allows, or None where it is not plain."""
    if node is None:
        return None
    if isinstance(node, ast.Constant) and node.value is None:
        return [None]
    if isinstance(node, ast.Name) and node.id in _SIMPLE:
        return list(_SIMPLE[node.id])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _plain_types(node.left), _plain_types(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
        elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return [("literal", [element.value for element in elements if isinstance(element, ast.Constant)])]
    return None


def _signature(module: str, name: str, path: str) -> dict[str, ast.expr | None] | None:
    """Return the argument names and annotations of a class or function, None where they cannot be told."""
    definitions = _definitions(module)
    if definitions is None:
        raise ConfigError(f"{path}._target_={module}.{name}: there is no module {module}")
    node = definitions.get(name)
    if node is None:
        return None
    if isinstance(node, ast.ClassDef):
        inits = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if not inits:
            return None
        node = inits[0]
    if not isinstance(node, ast.FunctionDef) or node.args.kwarg is not None:
        return None
    return {arg.arg: arg.annotation for arg in [*node.args.args, *node.args.kwonlyargs] if arg.arg != "self"}


@cache
def _definitions(module: str) -> dict[str, ast.stmt] | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
