"""Decides what a ``_target_`` may name: by kinds of objects, not by packages.

A target is a registered model, an object passed to ``register``, or a class of an allowed kind (``KINDS``) that is
*defined* in the module that its path names. Functions, re-exports and attributes of attributes are refused: torch,
Lightning and lab contain callables that load pickles, run shell commands or write files, and no list of them exists.

The source text is read before a module is imported, so a module of a refused path is not even imported. The command
line checks the same text (``lab.launch.targets``). An imported object is checked again before it is called.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from lab.config.definitions import Definition, Module, ancestors, applied_to, find_definition, path_of, public_names
from lab.config.sources import find_module, parse
from lab.errors import ConfigError, closest
from lab.system.registrations import make_table

Thing = TypeVar("Thing", bound=Callable[..., Any])

MODULE = "torch.nn.modules.module.Module"
DATA = "lab.data.datamodule.DataModule"
KINDS = {
    MODULE: "nn.Module",
    DATA: "DataModule of lab",
    "torch.optim.optimizer.Optimizer": "Optimizer",
    "lightning.pytorch.callbacks.callback.Callback": "Callback",
}
"""The classes whose subclasses may be named, with their names in errors."""
_NEVER = frozenset(
    {
        "lightning.pytorch.core.module.LightningModule",  # builds the objects that its arguments name
        "torch.jit._script.ScriptModule",  # these two are made of code
        "torch.fx.graph_module.GraphModule",
    }
)
# Elsewhere in these packages a module's constructor may write code, open files or start processes (RemoteModule, DDP).
_PLACES = {
    "lab": ("lab",),
    "torch": ("torch.nn.modules", "torch.optim"),
    "torchvision": ("torchvision.models", "torchvision.ops", "torchvision.transforms"),
    "timm": ("timm.layers", "timm.models", "timm.optim"),
    "transformers": ("transformers.models",),
}
# Of these packages everybody writes the short name, so it is followed to the definition. No other re-export is.
_SHORT = frozenset({"torch.nn", "torch.optim", "torchvision.transforms.v2"})
_REGISTER = frozenset({"lab.registry.allowed.register", "lab.registry.models.register_model"})

_packages: dict[str, None] = make_table(lambda package, _: package)
_packages.update(dict.fromkeys(_PLACES))
_registered: dict[str, Callable[..., Any]] = make_table(lambda path, _: path)
_entry_functions: list[Callable[..., Any]] = []
_sealed: ContextVar[bool] = ContextVar("sealed", default=False)


class NotAllowed(ConfigError):
    """A target that may not be named, or does not exist.

    Attributes:
        problem: what is wrong.
        hint: what would be right, to be added at the end; may be empty.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}{hint}")
        self.problem, self.hint = problem, hint


def allow_package(name: str) -> None:
    """Let targets name the objects that a user's package ``name`` registers, and its classes of the allowed kinds."""
    _packages[name.partition(".")[0]] = None


def allowed_packages() -> frozenset[str]:
    """Return the packages in which targets are looked for."""
    return frozenset(_packages)


def register(thing: Thing) -> Thing:
    """Let targets name a function, or a class of another kind than ``KINDS``, by the module that defines it.

    Register only what is safe to call: any config, and any checkpoint that is loaded while the package is imported,
    can call it with any arguments.

    Args:
        thing: a function or class at the top level of a module.

    Raises:
        ConfigError: it is neither.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if not (inspect.isclass(thing) or inspect.isfunction(thing)) or not module or not name.isidentifier():
        raise ConfigError(f"register: {name or thing!r} is no function or class at the top level of a module")
    _registered[f"{module}.{name}"] = thing
    return thing


@contextlib.contextmanager
def sealed() -> Iterator[None]:
    """Within this context only targets that a checkpoint may name are built, and nothing is downloaded or loaded.

    A checkpoint may come from a stranger. It may name registered models, networks of the allowed packages and objects
    that the user has registered. It may not name data, a folder or repository of models, or a file of weights (its own
    weights fill the network).
    """
    token = _sealed.set(True)
    try:
        yield
    finally:
        _sealed.reset(token)


def is_sealed() -> bool:
    """Whether a checkpoint's network is being built."""
    return _sealed.get()


def admit(target: str) -> Callable[..., Any]:
    """Return the object of a dotted path, if a target may name it; its module is imported only if the text allows it.

    Raises:
        NotAllowed: the object is of no allowed kind, defined elsewhere, or does not exist.
        ConfigError: the module cannot be imported.
    """
    if target in _registered:
        return _registered[target]
    module, name = locate(target, _packages)
    if _sealed.get() and target.partition(".")[0] not in sys.modules:
        raise NotAllowed(f"{target!r} may not be named by a checkpoint before its package is imported")
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError as error:
        raise ConfigError(f"{module!r} cannot be imported: {error}") from error
    if callable(found) and _is_registered(found, f"{module}.{name}"):
        return found
    if not inspect.isclass(found):
        raise _refused(target, "it is not registered, and no class")
    paths = {f"{item.__module__}.{item.__qualname__}" for item in inspect.getmro(found)}
    if found.__qualname__ != name or found.__module__ not in (module, target.rpartition(".")[0]):
        raise _refused(target, f"it is {found.__module__}.{found.__qualname__}")
    if paths & _NEVER or not paths & KINDS.keys():
        raise _refused(target, _of_no_kind())
    if _sealed.get() and MODULE not in paths:
        raise _refused(target, "a checkpoint names networks alone")
    return found


def vouch(function: Callable[..., Any]) -> None:
    """Let targets name the entry function of a registered model."""
    _entry_functions.append(function)


def _is_registered(found: Any, path: str) -> bool:
    return _registered.get(path) is found or any(function is found for function in _entry_functions)


def locate(target: str, packages: Collection[str]) -> tuple[str, str]:
    """Return module and name of the definition that a path names, from source texts alone.

    Args:
        target: a dotted path.
        packages: the allowed packages.

    Raises:
        NotAllowed: by the source text, the target may not be named or does not exist.
    """
    parts = target.split(".")
    if parts[0] not in packages:
        raise NotAllowed(f"{target!r} is not in an allowed package ({', '.join(sorted(packages))})")
    if not all(part.isidentifier() for part in parts):
        raise NotAllowed(f"{target!r} is no dotted path")
    if any(part.startswith("_") for part in parts):
        raise _refused(target, "it is private")
    count = next((n for n in range(len(parts), 0, -1) if _exists(".".join(parts[:n]))), 0)
    if not count:
        raise NotAllowed(f"there is no package {parts[0]!r}")
    if count == len(parts):
        raise NotAllowed(f"{target!r} is a module and cannot be called")
    module, name = ".".join(parts[:count]), parts[count]
    found = find_definition(module, name)
    if found is None and _has_text(module):
        raise NotAllowed(f"{module!r} has no {name!r}", closest(name, public_names(module) - {name}))
    if count < len(parts) - 1:
        raise _refused(target, f"it leads through {name!r} of {module!r}", "; write MODULE.CLASS, where it is defined")
    if found is None:  # made at run time, or compiled: it is checked after the import
        return module, name
    if isinstance(found, Module) and found.is_foreign:
        raise _refused(target, f"it is {found.path}, and a target is named where it is defined")
    if isinstance(found, Module):
        raise NotAllowed(f"{target!r} is a module and cannot be called")
    _check_definition(target, module, found)
    return found.module, found.node.name


def _exists(module: str) -> bool:
    return module in sys.modules or find_module(module) is not None


def _has_text(module: str) -> bool:
    file = find_module(module)
    return file is not None and parse(file) is not None


def _check_definition(target: str, module: str, found: Definition) -> None:
    elsewhere = found.path != target and not (module in _SHORT and found.is_class)
    if elsewhere:
        near = f"; write {found.path}" if _problem_of(found) is None else ""
        raise _refused(target, f"it is {found.path}, and a target is named where it is defined", near)
    problem = _problem_of(found)
    if problem is not None:
        raise _refused(target, problem)


def _problem_of(found: Definition) -> str | None:
    """Return why a definition may not be called; None if it may, or if the text cannot tell."""
    if any(path_of(found.module, each) in _REGISTER for each in applied_to(found)):
        return None
    if not found.is_class:
        return "it is a function that is not registered (lab.registry.register)"
    package = found.module.partition(".")[0]
    if not any(f"{found.module}.".startswith(f"{place}.") for place in _PLACES.get(package, (package,))):
        return f"of {package}, classes of {' and '.join(_PLACES[package])} may be named"
    paths, complete = ancestors(found)
    if paths & _NEVER or (complete and not paths & KINDS.keys()):
        return _of_no_kind()
    return None


def _of_no_kind() -> str:
    return f"it is no registered model, {', '.join(KINDS.values())}, and not registered (lab.registry.register)"


def _refused(target: str, why: str, hint: str = "") -> NotAllowed:
    by = " by a checkpoint" if _sealed.get() else ""
    return NotAllowed(f"{target!r} may not be named{by}: {why}", hint)
