"""Finds and parses the sources of modules without importing or running them."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path


def find_module(module: str) -> Path | None:
    """Return the file of a module without importing it or its parents; None if it has none."""
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


def find_in_working_directory(packages: Sequence[str]) -> None:
    """Let Python also find packages that a user names in the working directory, after all other places."""
    if packages and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def modules_of(package: str) -> Iterator[tuple[str, Path]]:
    """Yield name and file of each importable module of a package, or of the module itself if it is no package."""
    origin = find_module(package)
    if origin is None:
        return
    if origin.is_file() and origin.name != "__init__.py":
        yield package, origin
        return
    folder = origin if origin.is_dir() else origin.parent
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            yield ".".join([package, *(part for part in parts if part != "__init__")]), file


@cache
def _parsed(file: Path) -> ast.Module | str | None:
    """Return the syntax tree of a source file, or its error; None if it is no Python source file."""
    if file.suffix != ".py":
        return None
    try:
        return ast.parse(file.read_bytes(), file)
    except SyntaxError as error:
        return f"{file}:{error.lineno or 1}: {error.msg}"
    except (ValueError, RecursionError, OSError) as error:  # null bytes, too deeply nested, cannot be opened
        return f"{file}: {getattr(error, 'strerror', None) or error}"


def parse(file: Path) -> ast.Module | None:
    """Return the syntax tree of a source file; None if it is no source file or has a syntax error."""
    tree = _parsed(file)
    return tree if isinstance(tree, ast.Module) else None


def mistake_in(file: Path) -> str | None:
    """Return ``FILE:LINE: what is wrong`` for a source file with a syntax error; None without one."""
    tree = _parsed(file)
    return tree if isinstance(tree, str) else None


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, including those inside ``if`` and ``try``."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from statements([*node.body, *node.orelse])


@cache
def look_up(module: str, name: str) -> tuple[str, ast.expr | ast.ClassDef] | None:
    """Follow a name of a module to its value or class and the defining module; None if it is neither."""
    for _ in range(8):
        file = find_module(module)
        tree = parse(file) if file is not None else None
        if file is None or tree is None:
            return None
        source = ""
        for node in statements(tree.body):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return module, node
            if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
                return module, node.value
            if isinstance(node, ast.ImportFrom):
                alias = next((alias for alias in node.names if (alias.asname or alias.name) == name), None)
                source = source if alias is None else absolute(node, module, file)
                name = name if alias is None else alias.name
                if alias is not None:
                    break
        if not source:
            return None
        module = source
    return None


def absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    """Return the absolute module that an ``import from`` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + (file.name == "__init__.py")]
    return ".".join([*kept, *([node.module] if node.module else [])])
