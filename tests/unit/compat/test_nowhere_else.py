"""No module outside of ``lab/compat`` reaches for what another library keeps private."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import nn

ROOT = Path(__file__).resolve().parents[3]
FILES = [path for path in sorted((ROOT / "lab").rglob("*.py")) if "compat" not in path.relative_to(ROOT / "lab").parts]
PUBLIC = {"_fields", "_replace", "_asdict", "_make"}
"""Names that Python documents in spite of their underscore: those of named tuples."""
PYTHON = {("os", "_exit"), ("sys", "_getframe"), ("hashlib", "_Hash")}
"""What is used of Python itself; typeshed's name of a hash is read by mypy alone."""
INTERNAL = re.compile(r"hydra\._internal|hydra\.core\.|wandb\.sdk|deepspeed\.(runtime|comm|accelerator)|mkldnn\._")
"""Modules that are not private by their name; their libraries do not document them."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def parsed(path: Path) -> ast.Module:
    """Return a file's tree, which is not kept: all of them are millions of objects."""
    return ast.parse(path.read_text(encoding="utf-8"))


@lru_cache
def own_names() -> set[str]:
    """Return the private names that lab's own classes define: methods, attributes of ``self``, fields."""
    found = set()
    for path in FILES:
        for part in ast.walk(parsed(path)):
            for node in ast.walk(part) if isinstance(part, ast.ClassDef) else ():
                match node:
                    case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                        found.add(name)
                    case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                        found.add(name)
    return {name for name in found if is_private(name)}


def foreign(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of what reaches into another library."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue  # see test_no_class_uses_what_a_foreign_base_keeps_private
            case ast.Attribute(value=value, attr=name) if is_private(name) and name not in own_names() | PUBLIC:
                if (ast.unparse(value), name) not in PYTHON:
                    yield node.lineno, ast.unparse(node)
            case ast.Import(names=names):
                for alias in names:
                    if any(map(is_private, alias.name.split("."))) or INTERNAL.match(alias.name):
                        yield node.lineno, alias.name
            case ast.ImportFrom(module=module, names=names):
                parts = (module or "").split(".")
                private = any(map(is_private, [*parts, *(alias.name for alias in names)]))
                if (private and parts[0] != "lab") or INTERNAL.match(module or ""):
                    yield node.lineno, f"from {module} import {', '.join(alias.name for alias in names)}"
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=name), *_]):
                if isinstance(name, str) and is_private(name) and name not in own_names() | PUBLIC:
                    yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reaches_into_another_library(path: Path) -> None:
    found = [f"{path.relative_to(ROOT)}:{line}: {text}" for line, text in foreign(parsed(path))]
    assert found == [], "what a library keeps private stands in lab/compat, with its reason and a test"


@pytest.mark.parametrize(
    "line",
    [
        "torch._foreach_add(a, b)",
        "module._parameters['weight'] = tensor",
        "from torch.utils._pytree import tree_map",
        "from lightning.fabric.utilities.device_dtype_mixin import _update_properties",
        "import torch._dynamo",
        "from hydra.core.override_parser.types import Glob",
        "getattr(trainer, '_checkpoint_connector')",
        "super()._restore_modules_and_callbacks()",
    ],
)
def test_it_is_seen(line: str) -> None:
    assert len(list(foreign(ast.parse(line)))) == 1


def test_what_is_no_foreign_name_is_let_by() -> None:
    text = "pair._replace(a=1)\nos._exit(1)\nself._mine = 1\nfrom lab.text import _words\nx.__class__\n_ = 1"
    assert list(foreign(ast.parse(text))) == []


def is_foreign(base: type) -> bool:
    return base.__module__.partition(".")[0] in {"torch", "lightning", "torchmetrics", "pydantic", "datasets", "wandb"}


def used_on_self(node: ast.ClassDef) -> set[str]:
    """Return the private names that a class defines as methods, or reads and writes on ``self``."""
    found = {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef)}
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in ("self", "cls"):
            found.add(part.attr)
    return {name for name in found if is_private(name)}


@lru_cache
def classes_of(module: str) -> dict[str, ast.ClassDef]:
    file = inspect.getsourcefile(importlib.import_module(module))
    tree = ast.parse(Path(file).read_text("utf-8")) if file else ast.Module([], [])
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@lru_cache
def private_of(base: type) -> frozenset[str]:
    """Return the private names of a foreign class itself."""
    node = classes_of(base.__module__).get(base.__name__)
    return frozenset(filter(is_private, vars(base))) | (used_on_self(node) if node else set())


def test_no_class_uses_what_a_foreign_base_keeps_private() -> None:
    found, looked = [], 0
    for path in FILES:
        nodes = [node for node in parsed(path).body if isinstance(node, ast.ClassDef) and used_on_self(node)]
        if not nodes or path.name == "__main__.py":
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        for node in nodes:
            for base in filter(is_foreign, getattr(module, node.name).__mro__):
                looked += 1
                used = used_on_self(node) & private_of(base)
                found += [f"{name}.{node.name}: {each}, private in {base.__name__}" for each in used]
    assert sorted(found) == []
    assert looked > 50
    assert {"_trainer", "_log_hyperparams"} <= private_of(LightningModule) | private_of(HyperparametersMixin)
    assert {"_parameters", "_load_from_state_dict"} <= private_of(nn.Module)


def test_every_use_has_a_test_of_its_name() -> None:
    missing = []
    for path in sorted((ROOT / "lab" / "compat").glob("[a-z]*.py")):
        tests = (ROOT / "tests/unit/compat" / f"test_{path.name}").read_text("utf-8")
        for node in ast.parse(path.read_text("utf-8")).body:
            name = getattr(node, "name", None)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not is_private(name or "_") and name not in tests:
                missing.append(f"{path.name}: {name}")
    assert missing == []
