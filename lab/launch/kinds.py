"""Finds the kind of problem of a config, among lab's own and those that extensions register. No torch.

An extension is read, not imported: its ``TaskSpec`` is taken from the source text, with string literals as arguments.
Only the module that ``settings`` names is executed, without the package around it.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from lab.config.compose import Composed
from lab.config.definitions import path_of
from lab.config.kinds import FindSettings, TaskSettings
from lab.config.sources import find_in_working_directory, find_module, mistake_in, modules_of, parse
from lab.errors import ConfigError, closest
from lab.training.spec import TaskSpec, task_names, task_spec

_SPEC = f"{TaskSpec.__module__}.{TaskSpec.__qualname__}"


def settings_finder(composed: Composed) -> FindSettings:
    """Return a function that finds the settings of a kind of problem, in lab and in a config's extensions."""

    def find(name: str) -> TaskSettings:
        check_extensions(composed)
        if name in task_names():
            return task_spec(name).load_settings()
        theirs = {spec.name: spec for package in composed.config["extensions"] for spec in specs_in(package)}
        if name not in theirs:
            known = [*task_names(), *theirs]
            near = closest(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(
                f"model.task={name} ({composed.origin('model.task')}): there is no such kind of problem{near}; a "
                "package that registers one is named by extensions=[PACKAGE]"
            )
        return _settings_of(theirs[name])

    return find


def check_extensions(composed: Composed) -> None:
    """Check that the packages in a config's ``extensions`` exist; the working directory is searched too.

    Raises:
        ConfigError: one does not exist.
    """
    names = composed.config["extensions"]
    find_in_working_directory(names)
    for name in names:
        file = find_module(name)
        if file is None:
            raise ConfigError(
                f"extensions: there is no package {name!r} in {Path.cwd()} or among the installed ones "
                f"({composed.origin('extensions')})"
            )
        if (mistake := mistake_in(file)) is not None:
            raise ConfigError(f"extensions: {name} cannot be imported: {mistake}")


def specs_in(package: str) -> Iterator[TaskSpec]:
    """Yield the kinds of problem in a package's source text.

    Raises:
        ConfigError: an argument of one is no string literal.
    """
    names = [field.name for field in fields(TaskSpec)]
    for module, path in modules_of(package):
        tree = parse(path)
        for node in ast.walk(tree) if tree else ():
            if not isinstance(node, ast.Call) or path_of(module, node) != _SPEC:
                continue
            given: dict[Any, ast.expr] = {
                **dict(zip(names, node.args, strict=False)),
                **{word.arg: word.value for word in node.keywords},
            }
            texts = {
                key: value.value
                for key, value in given.items()
                if isinstance(value, ast.Constant) and isinstance(value.value, str)
            }
            if len(texts) < len(given) or not {"name", "task", "data", "settings"} <= {*texts} <= {*names}:
                raise ConfigError(
                    f"{path}, line {node.lineno}: TaskSpec takes {', '.join(names)}, each written out as a text: a "
                    "config is checked before the package is imported"
                )
            yield TaskSpec(**texts)


def _settings_of(spec: TaskSpec) -> TaskSettings:
    """Return the settings in a module of an extension, which is executed without its package.

    Raises:
        ConfigError: there is no such module, or it holds no settings.
    """
    module, _, name = spec.settings.partition(":")
    file = find_module(module)
    loader = None if file is None else importlib.util.spec_from_file_location(module, file)
    if loader is None or loader.loader is None:
        raise ConfigError(f"extensions: the kind of problem {spec.name!r} names {spec.settings}, which does not exist")
    loaded, before = importlib.util.module_from_spec(loader), sys.modules.get(module)
    sys.modules[module] = loaded  # pydantic looks up annotations there
    try:
        loader.loader.exec_module(loaded)
    except Exception as error:
        raise ConfigError(f"extensions: {module} cannot be imported: {error}") from error
    finally:
        if before is None:
            sys.modules.pop(module, None)  # the package imports it itself
        else:
            sys.modules[module] = before
    found = getattr(loaded, name, None)
    if not isinstance(found, TaskSettings):
        raise ConfigError(f"extensions: {spec.settings} is not a TaskSettings (lab.config.kinds)")
    return found
