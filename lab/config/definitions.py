"""Finds where a name is defined and what its class derives from, from source texts alone: nothing is imported.

``find_signature`` finds a target's arguments; this module finds its kind. Imports, including star imports, are followed
to the definition. Names that are made at run time (a class returned by a function, ``globals()``) are not found.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.config.sources import absolute, find_module, parse, statements

_DEPTH = 12


@dataclass(frozen=True)
class Definition:
    """A class or function and the module that defines it."""

    module: str
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def path(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.node.name}"

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return isinstance(self.node, ast.ClassDef)


@dataclass(frozen=True)
class Module:
    """A name of a module, or of an object in the standard library."""

    path: str

    @property
    def is_foreign(self) -> bool:
        """Whether it is in the standard library."""
        return self.path.partition(".")[0] in sys.stdlib_module_names


def find_definition(module: str, name: str, depth: int = 0) -> Definition | Module | None:
    """Follow a name of a module to its definition; None if it has none, or the text cannot tell.

    The standard library is not read: each of its names is returned as ``Module``.
    """
    if module.partition(".")[0] in sys.stdlib_module_names:
        return Module(f"{module}.{name}")
    file = find_module(module)
    if file is None or depth > _DEPTH:
        return None
    names, stars = _index(file)
    for node in names.get(name, ()):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                return Definition(module, node)
            case ast.Import():
                alias = next(alias for alias in node.names if _bound(alias, True) == name)
                return Module(alias.name if alias.asname else name)
            case ast.ImportFrom():
                source = absolute(node, module, file)
                alias = next(alias for alias in node.names if _bound(alias) == name)
                if (source, alias.name) != (module, name):
                    return find_definition(source, alias.name, depth + 1) or _submodule(source, alias.name)
            case ast.Assign():
                return find_expression(module, node.value, depth + 1)
    inside = _submodule(module, name) if file.name == "__init__.py" else None
    sources = (absolute(node, module, file) for node in stars)
    return inside or next((found for star in sources if (found := find_definition(star, name, depth + 1))), None)


@cache
def _index(file: Path) -> tuple[dict[str, list[ast.stmt]], list[ast.ImportFrom]]:
    """Return the statements of a module that bind each name, in their order, and its star imports."""
    names: dict[str, list[ast.stmt]] = {}
    stars: list[ast.ImportFrom] = []
    tree = parse(file)
    for node in statements(tree.body) if tree is not None else ():
        bound: list[str] = []
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                bound = [node.name]
            case ast.Import():
                bound = [_bound(alias, True) for alias in node.names]
            case ast.ImportFrom():
                bound = [_bound(alias) for alias in node.names]
                if "*" in bound:
                    stars.append(node)
            case ast.Assign(targets=[ast.Name(id=target)]):
                bound = [target]
        for name in bound:
            names.setdefault(name, []).append(node)
    return names, stars


def _bound(alias: ast.alias, top: bool = False) -> str:
    """Return the name that an import binds: ``a`` for ``import a.b``."""
    return alias.asname or (alias.name.partition(".")[0] if top else alias.name)


def _submodule(module: str, name: str) -> Module | None:
    return Module(f"{module}.{name}") if find_module(f"{module}.{name}") else None


def find_expression(module: str, node: ast.expr, depth: int = 0) -> Definition | Module | None:
    """Follow an expression of a module, such as ``nn.Module`` or ``Base[T]``, to its definition."""
    if isinstance(node, ast.Subscript):
        return find_expression(module, node.value, depth)
    if isinstance(node, ast.Name):
        return find_definition(module, node.id, depth)
    if isinstance(node, ast.Attribute):
        owner = find_expression(module, node.value, depth)
        return find_definition(owner.path, node.attr, depth + 1) if isinstance(owner, Module) else None
    return None


def ancestors(definition: Definition, depth: int = 0) -> tuple[frozenset[str], bool]:
    """Return the paths of a class and of all its ancestors, and whether all ancestors are known."""
    found, complete = {definition.path}, depth <= _DEPTH
    bases = definition.node.bases if isinstance(definition.node, ast.ClassDef) and complete else []
    for expression in bases:
        base = find_expression(definition.module, expression)
        if isinstance(base, Definition) and base.is_class and base != definition:
            above, known = ancestors(base, depth + 1)
            found |= above
            complete &= known
        elif not ((isinstance(base, Module) and base.is_foreign) or _is_builtin(expression)):
            complete = False
    return frozenset(found), complete


def _is_builtin(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Name) and isinstance(getattr(builtins, expression.id, None), type)


def applied_to(definition: Definition) -> Iterator[ast.expr]:
    """Yield the functions that a module applies to a definition: decorators, and calls below with its name alone."""
    yield from definition.node.decorator_list
    file = find_module(definition.module)
    tree = parse(file) if file is not None else None
    for node in statements(tree.body) if tree is not None else ():
        match node:
            case ast.Expr(value=ast.Call(func=function, args=[ast.Name(id=name)])) if name == definition.node.name:
                yield function


def path_of(module: str, expression: ast.expr) -> str | None:
    """Return the path of the definition that an expression such as ``register`` or ``register(...)`` names."""
    found = find_expression(module, expression.func if isinstance(expression, ast.Call) else expression)
    return found.path if isinstance(found, Definition) else None


def public_names(module: str, depth: int = 0) -> set[str]:
    """Return the public names of a module, including those of its star imports and its submodules."""
    file = find_module(module)
    tree = parse(file) if file is not None else None
    if file is None or tree is None or depth > _DEPTH:
        return set()
    names: set[str] = set()
    for node in statements(tree.body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                source = absolute(node, module, file)
                more = {alias.asname or alias.name} if alias.name != "*" else set()
                names |= public_names(source, depth + 1) if alias.name == "*" and source != module else more
    if file.name == "__init__.py":
        names |= {path.stem for path in file.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    return {name for name in names if not name.startswith("_")}
