"""The names that Python code outside of the house may import: with their parameters or fields."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from tests.recorded import compare

MODULES = ("lab", "lab.errors", "lab.ranges", "lab.registry", "lab.structures", "lab.training.spec")


def public(module: Any) -> list[str]:
    """Return what a module exports, or where it does not say so what it defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(name for name in getattr(module, "__all__", own) if not name.startswith("_"))


def parameters(value: Any) -> str:
    """Return names and defaults of parameters, without annotations."""
    taken = inspect.signature(value).parameters.values()
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in taken]
    return str(inspect.Signature(bare))


def described(name: str, value: Any) -> list[str]:
    """Return a name and what may be relied on of it."""
    if is_dataclass(value):
        return [f"{name} = {', '.join(field.name for field in fields(value))}"]
    if inspect.isclass(value):
        if issubclass(value, Exception | Enum):
            return [name]
        read = sorted(key for key, member in vars(value).items() if isinstance(member, property) and key[0] != "_")
        called = [f"{name}.{member} = {parameters(getattr(value, member))}" for member in methods(value)]
        return [name, *(f"{name}.{key}" for key in read), *called]
    return [f"{name} = {parameters(value)}" if inspect.isfunction(value) else name]


def methods(value: type) -> list[str]:
    return sorted(name for name, member in vars(value).items() if inspect.isfunction(member) and name[0] != "_")


def test_names_and_parameters_are_those_recorded() -> None:
    lines: list[str] = []
    for name in MODULES:
        module = importlib.import_module(name)
        lines += ["", f"# {name}"]
        for each in public(module):
            lines += described(f"{name}.{each}", getattr(module, each))
    compare("api.txt", lines[1:], "tests/snapshots/test_api.py")
