"""A name means one thing in lab: no two classes or types of one name; what is abstract cannot be made.

That nothing shadows a builtin is held by ruff's rules A (pyproject.toml names the one exception).
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "lab").rglob("*.py"))
# data=shapes is one dataset for two kinds of problem: its YAML picks the room by the model's task.
ONE_NAME_IN_EACH_ROOM = {"ShapesDataModule", "Scenes3dDataModule"}


def trees(word: str = "") -> Iterator[tuple[Path, ast.Module]]:
    """Yield the files with a word in them and their trees, which are not kept: all of them are millions of objects."""
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if word in text:
            yield file, ast.parse(text)


def defined_types(tree: ast.Module) -> Iterator[str]:
    """Yield the classes of a module, nested ones too, and the aliases of types at its top."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                is_type = isinstance(value, ast.Subscript | ast.BinOp | ast.Attribute | ast.Name)
                if is_type and name.lstrip("_")[:1].isupper() and not name.isupper():
                    yield name
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                if ast.unparse(annotation).endswith("TypeAlias"):
                    yield name


def test_no_two_types_have_one_name() -> None:
    places = defaultdict(list)
    for file, tree in trees():
        for name in defined_types(tree):
            places[name].append(str(file.relative_to(ROOT)))
    several = {name: found for name, found in places.items() if len(found) > 1}
    assert {name for name in several if name not in ONE_NAME_IN_EACH_ROOM} == set(), several
    assert several.keys() == ONE_NAME_IN_EACH_ROOM  # an exception that is none any more goes


def _abstract() -> list[str]:
    found = []
    for file, tree in trees("abstractmethod"):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            marks = [ast.unparse(mark) for method in methods for mark in method.decorator_list]
            if any(mark.endswith("abstractmethod") for mark in marks):
                found.append(f"{module}:{node.name}")
    return found


def test_there_are_abstract_classes() -> None:
    assert "lab.training.task:Task" in _abstract()


@pytest.mark.parametrize("place", _abstract())
def test_a_class_with_abstract_methods_cannot_be_made(place: str) -> None:
    module, _, name = place.partition(":")
    assert inspect.isabstract(getattr(importlib.import_module(module), name))


def test_what_a_subclass_owes_is_abstract() -> None:
    """No method that only raises NotImplementedError: it would be missed when it is called, not when it is made."""
    late = []
    for file, tree in trees("NotImplementedError"):
        for node in ast.walk(tree):
            last = node.body[-1] if isinstance(node, ast.FunctionDef) else None
            raised = ast.unparse(last.exc) if isinstance(last, ast.Raise) and last.exc is not None else ""
            if raised.startswith("NotImplementedError"):
                late.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert late == []
