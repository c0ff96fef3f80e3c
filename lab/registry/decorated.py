"""Finds the models that a package registers in its source texts: nothing is imported, and no torch.

``registered_in`` reads both lab's own architectures and a user's extensions. A registration is ``@register_model`` or
``@register_model(...)`` on a function or class of a module, or ``register_model(function)`` below it, under whatever
name the module imports it. Other registrations (in a loop, by a function) are only known after an import.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.config.definitions import Definition, applied_to, path_of
from lab.config.sources import mistake_in, modules_of, parse, statements

DECORATOR = "lab.registry.models.register_model"


@dataclass(frozen=True)
class Registration:
    """A registered function or class, as found in the source text.

    Attributes:
        name: the name of the function, and so of the model.
        module: the module that defines it.
        file: its file.
        line: the line of its first decorator, or of its ``def`` if it has none.
        options: the arguments of the decorator that are literals.
        unread: the names of the arguments that are not.
    """

    name: str
    module: str
    file: str
    line: int
    options: Mapping[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackageReading:
    """The models that a package registers, and errors of its files.

    Attributes:
        found: the registrations in the order of files and lines.
        mistakes: a line for each file with a syntax error: ``FILE:LINE: what is wrong``.
    """

    found: tuple[Registration, ...]
    mistakes: tuple[str, ...]


def registered_in(package: str) -> PackageReading:
    """Read all modules of a package and its subpackages, or one module.

    Args:
        package: dotted name; a package that does not exist has no models.
    """
    found: list[Registration] = []
    mistakes: list[str] = []
    for module, file in _that_name_it(list(modules_of(package))):
        mistake = mistake_in(file)
        if mistake is not None:
            mistakes.append(mistake)
        found.extend(_in_module(module, file))
    return PackageReading(tuple(found), tuple(mistakes))


def _that_name_it(modules: list[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Yield the modules whose text has the decorator's name or an alias of it, so that only a few files are parsed."""
    texts = [_text(file) for _, file in modules]
    names: set[str] = set()
    added = {DECORATOR.rpartition(".")[2]}
    while added:
        names |= added
        word = rf"\b(?:{'|'.join(names)})\b"
        alias = re.compile(rf"{word} as (\w+)|\b(\w+) = .*{word}")
        added = {name for text in texts for match in alias.findall(text) for name in match if name} - names
    named = re.compile(rf"\b(?:{'|'.join(names)})\b")
    return (module for module, text in zip(modules, texts, strict=True) if named.search(text))


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:  # parsing the file reports the reason
        return DECORATOR


def _in_module(module: str, file: Path) -> Iterator[Registration]:
    tree = parse(file)
    for node in statements(tree.body) if tree is not None else ():
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        applied = applied_to(Definition(module, node))
        expression = next((each for each in applied if path_of(module, each) == DECORATOR), None)
        if expression is not None:
            line = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield Registration(node.name, module, str(file), line, *_options(expression))


def _options(expression: ast.expr) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the literal arguments of ``register_model(...)``, and the names of the others."""
    options: dict[str, Any] = {}
    unread = []
    for item in expression.keywords if isinstance(expression, ast.Call) else ():
        try:
            options[str(item.arg)] = ast.literal_eval(item.value)
        except ValueError:  # an expression that is no literal
            unread.append(item.arg or "**")
    return options, tuple(unread)
