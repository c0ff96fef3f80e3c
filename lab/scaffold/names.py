"""Checks the name of what is made: how it is written, and that nothing else has it. No torch."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from lab.config.group_files import config_dir, options
from lab.errors import ConfigError
from lab.registry.models import list_models
from lab.scaffold.places import ProjectFolder
from lab.training.spec import task_names

LONGEST = {"project": 20, "model": 24, "data": 24, "task": 20}
"""Characters of a name: longer ones make lines that are too long. A project's first model is called ``NAME_net``."""
_CUT = min(LONGEST.values()) - 3
"""Characters of a suggested name: it may get a number or ``my_``."""
_FORM = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LAB = Path(__file__).resolve().parents[1]


def check_name(word: str, name: str, place: ProjectFolder | None = None) -> None:
    """Refuse a name that is no name of a module, or that is taken.

    Args:
        word: what gets the name: ``model``, ``data``, ``task`` or ``project``.
        name: the name as given.
        place: where it is written; None for a project.

    Raises:
        ConfigError: the name is refused; the error gives the closest one that is not.
    """

    def why(each: str) -> str:
        return _why_not(word, each, place)

    if reason := why(name):
        raise ConfigError(f"lab new {word} {name}: {reason}; try {_closest(name, why)}")


def class_name(name: str) -> str:
    """Return the name of a class: ``my_net2`` gives ``MyNet2``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _why_not(word: str, name: str, place: ProjectFolder | None) -> str:
    longest = LONGEST[word]
    if not _FORM.fullmatch(name) or len(name) > longest:
        return f"a name has lower-case letters, digits and single _, a letter first, at most {longest} characters"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "this is a keyword of Python"
    if name in sys.stdlib_module_names:
        return "this is a module of Python"
    if name in _lab_names():
        return "this is a module of lab"
    if place is None:
        return "there is a module of this name already" if find_spec(name) else _taken(name)
    if name == place.package:
        return "this is the name of the project"
    return _taken(name) or place.holder(name)


def _lab_names() -> set[str]:
    return {"lab", *(path.stem for path in _LAB.iterdir() if path.name[0] not in "._")}


def _taken(name: str) -> str:
    """Return what of lab's own has the name, or ``""``."""
    if name in task_names():
        return "this is a kind of problem of lab's"
    if name in list_models() or name in options("model", [config_dir()]) or (_LAB / "models" / name).is_dir():
        return "this is a model of lab's"
    return "this is a dataset of lab's" if name in options("data", [config_dir()]) else ""


def _closest(name: str, why: Callable[[str], str]) -> str:
    """Return the first name that is right: the given one written rightly, or one with ``my_`` or a number."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    parts = [part for part in re.split(r"[^a-z0-9]+", split) if part]
    written = "_".join(parts)[:_CUT].rstrip("_").lstrip("0123456789_") or "new"
    tried = [written, f"my_{written}", *(f"{written}_{number}" for number in range(2, 100))]
    return next(each for each in tried if not why(each))
