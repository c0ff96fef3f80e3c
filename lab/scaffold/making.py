"""What ``lab new`` makes of a word and a name: which files, where, and the commands that come next. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.config.group_files import config_dir
from lab.errors import ConfigError
from lab.scaffold.names import check_name, class_name
from lab.scaffold.places import ProjectFolder, find_place
from lab.scaffold.rendering import COMMON, check_kind, fitting_model, kinds_of, render_folder

_CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
_RECORD = "LAB_RECORD=1 python -m pytest -q tests/snapshots/test_config.py"


@dataclass(frozen=True)
class Made:
    """What is to be written.

    Attributes:
        root: the folder below which it is.
        files: path relative to ``root``, to text.
        next: commands to go on with, each with what it is for; they are run in ``root``.
    """

    root: Path
    files: dict[str, str]
    next: tuple[tuple[str, str], ...]


def make_model(name: str, kind: str | None, here: Path) -> Made:
    """Return a room of an architecture, its YAML and its tests; see ``MAKERS``."""
    place = find_place(here)
    check_name("model", name, place)
    kind = check_kind("model", kind)
    files = _of_word("model", name, kind, place)
    tests = next(path for path in files if path.startswith("tests/"))
    steps = [
        (f"python -m pytest -q {tests}", "its tests"),
        (f"{place.command} check=true model={name}", "builds it, trains nothing"),
        (f"{place.command} model={name}", "trains it"),
    ]
    return Made(place.root, files, (*steps, *_recording(place)))


def make_data(name: str, kind: str | None, here: Path) -> Made:
    """Return a DataModule with its YAML, a generator of a small example and tests; see ``MAKERS``."""
    place = find_place(here)
    check_name("data", name, place)
    kind = check_kind("data", kind)
    files = _of_word("data", name, kind, place)
    tests = next(path for path in files if path.startswith("tests/"))
    steps = [
        (f"python -m pytest -q {tests}", "its tests"),
        (f"{place.command} model={fitting_model(kind)} data={name} data.example=true", "trains on generated files"),
    ]
    return Made(place.root, files, (*steps, *_recording(place)))


def make_task(name: str, kind: str | None, here: Path) -> Made:
    """Return a new kind of problem with its data, a network, a recipe and tests; see ``MAKERS``."""
    place = find_place(here)
    if kind is not None:
        raise ConfigError(f"lab new task {name}: it is a kind of its own; leave --kind out")
    check_name("task", name, place)
    files = _of_word("task", name, name, place)
    tests = next(path for path in files if path.startswith("tests/"))
    steps = [
        (f"python -m pytest -q {tests}", "its tests"),
        (f"{place.command} experiments={name}", "trains on a generated table"),
    ]
    return Made(place.root, files, (*steps, *_recording(place)))


def make_project(name: str, kind: str | None, here: Path) -> Made:
    """Return a package of a user's own with a model, data and a recipe of a kind; see ``MAKERS``."""
    check_name("project", name)
    kind = check_kind("project", kind or kinds_of("project")[0])
    place = ProjectFolder(here / name, name)
    values = _values("project", name, kind, place)
    files = {**render_folder(f"project/{COMMON}", name, values), **render_folder(f"project/{kind}", name, values)}
    if kind in kinds_of("model"):
        files |= _of_word("model", f"{name}_net", kind, place)
    files |= _of_word("data", name, kind, place)
    steps = (
        (f"cd {name} && pip install -e .", "beside lab"),
        ("python -m pytest -q", "its tests"),
        (f"{place.command} experiments=first", "trains its model on a small generated dataset"),
        ("lab new model NAME --kind KIND", "another model; lab new data NAME: other data"),
    )
    return Made(place.root, dict(sorted(files.items())), steps)


MAKERS: dict[str, Callable[[str, str | None, Path], Made]] = {
    "project": make_project,
    "model": make_model,
    "data": make_data,
    "task": make_task,
}
"""What makes each thing, of a name, a kind of problem and the working directory. All raise ConfigError: the name is
refused, the kind has no template, or the working directory lies in no project."""


def _of_word(word: str, name: str, kind: str, place: ProjectFolder) -> dict[str, str]:
    """Return the files of a model, of data or of a kind of problem at their places."""
    values = _values(word, name, kind, place)
    parts = [word, "task/_lab"] if word == "task" else [f"{word}/{COMMON}", f"{word}/{kind}"]
    if not place.is_lab:
        parts = [part for part in parts if part != "task/_lab"]
    found = {path: text for part in parts for path, text in render_folder(part, name, values).items()}
    files: dict[str, str] = {}
    for path, text in found.items():
        part, _, rest = path.partition("/")
        files[f"{values['folders'][part]}/{rest.replace('TYPES.py', place.types_file(name))}"] = text
    for path, text in files.items():
        if path.endswith(".py") and path.startswith(place.package):
            _check_types(name, path, text, place)
    return files


def _values(word: str, name: str, kind: str, place: ProjectFolder) -> dict[str, Any]:
    """Return what templates use."""
    values = {
        "name": name,
        "title": class_name(name),
        "kind": kind,
        "package": place.package,
        "is_lab": place.is_lab,
        "command": place.command,
    }
    if word == "project":
        own = kind in kinds_of("model")
        return values | {"model": f"{name}_net" if own else fitting_model(kind), "own_model": own}
    folders = place.folders(word, name, kind)
    dotted = {part: folder.replace("/", ".") for part, folder in folders.items()}
    values |= {"folders": folders, "module": dotted["room"]}
    if word == "data":
        values["fitting"] = fitting_model(kind)
    if word == "task":
        file = place.types_file(name)
        values |= {"net": dotted["net"], "types": f"{dotted['types']}.{file.removesuffix('.py')}"}
        values["types_file"], values["net_file"] = (
            (f"{folders['types']}/{file}", f"{folders['net']}/network.py") if place.is_lab else (file, "network.py")
        )
    return values


def _check_types(name: str, path: str, text: str, place: ProjectFolder) -> None:
    """Refuse a name whose classes another module of the checkout has: names of types are unique there."""
    ours = set(_CLASS.findall(text))
    for file in sorted((place.root / "lab").rglob("*.py")) if place.is_lab else ():
        taken = sorted(ours & set(_CLASS.findall(file.read_text(encoding="utf-8"))))
        if taken:
            where = file.relative_to(place.root)
            raise ConfigError(f"{name}: {path} would define {taken[0]}, which {where} has; take another name")


def _recording(place: ProjectFolder) -> list[tuple[str, str]]:
    """Return the command that records the new option in the checkout."""
    has_records = (place.root / "tests" / "snapshots").is_dir() and config_dir().is_relative_to(place.root)
    return [(_RECORD, "records the new option; then read git diff")] if place.is_lab and has_records else []
