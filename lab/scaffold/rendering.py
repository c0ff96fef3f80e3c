"""Fills the templates: files ``*.jinja`` in ``templates/WORD/KIND/PART/``, where NAME in a path stands for the name.

Files and folders whose names begin with ``_`` are not written: ``_base`` holds what templates of several kinds extend,
``_fitting.jinja`` names the model of lab's for a kind of data, ``_why_not.jinja`` says why a kind has no template.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from lab.errors import ConfigError, closest

TEMPLATES = Path(__file__).parent / "templates"
COMMON = "_common"
"""The folder of a word's files that all kinds have."""
_SUFFIX = ".jinja"
_WHY_NOT = "_why_not.jinja"
_WIDTH = 120
"""Characters of a line."""
_PLAIN_IMPORT = re.compile(r"import (\S+)")
_FROM_IMPORT = re.compile(r"from (\S+) import")


def kinds_of(word: str) -> list[str]:
    """Return the kinds of problem with a template for a word."""
    return sorted(path.name for path in _folders(word) if not (path / _WHY_NOT).is_file())


def reasons(word: str) -> dict[str, str]:
    """Return for each kind that has no template for a word the reason, and what to do instead."""
    files = {path.name: path / _WHY_NOT for path in _folders(word)}
    return {kind: file.read_text(encoding="utf-8").strip() for kind, file in files.items() if file.is_file()}


def fitting_model(kind: str) -> str:
    """Return the model of lab's with which data of a kind is tried."""
    return (TEMPLATES / "data" / kind / "_fitting.jinja").read_text(encoding="utf-8").strip()


def _folders(word: str) -> list[Path]:
    return [path for path in (TEMPLATES / word).iterdir() if path.is_dir() and not path.name.startswith("_")]


def check_kind(word: str, kind: str | None) -> str:
    """Return a kind that has a template.

    Raises:
        ConfigError: it has none, or none was given.
    """
    known = kinds_of(word)
    if kind in known:
        return str(kind)
    if kind in (why := reasons(word)):
        raise ConfigError(f"lab new {word} --kind {kind}: {why[kind]}")
    asked = f"--kind {kind}: there is no template for this kind" if kind else "--kind says for which kind of problem"
    raise ConfigError(f"lab new {word}: {asked}{closest(kind or '', known)}; there are {', '.join(known)}")


def render_folder(folder: str, name: str, values: dict[str, Any]) -> dict[str, str]:
    """Return the files of a folder of templates: path, with NAME replaced, to text.

    Args:
        folder: relative to the templates, such as ``model/_common``; one that does not exist has no files.
        name: replaces NAME in paths.
        values: what the templates use; one that is missing is an error.
    """
    root = TEMPLATES / folder
    files = sorted(path for path in root.rglob(f"*{_SUFFIX}") if not _is_aside(path.relative_to(root)))
    environment = _environment()
    return {
        path.relative_to(root).as_posix().removesuffix(_SUFFIX).replace("NAME", name): environment.get_template(
            path.relative_to(TEMPLATES).as_posix()
        ).render(values)
        for path in files
    }


def _is_aside(path: Path) -> bool:
    """Whether a file, or a folder above it, has a name that begins with one ``_``."""
    return any(part.startswith("_") and not part.startswith("__") for part in path.parts)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # what is written is Python, YAML and Markdown
    )
    environment.filters["imports"] = sort_imports
    return environment


def sort_imports(text: str, package: str) -> str:
    """Return lines of imports in the order that ruff's rule I wants, with a blank line between sections.

    Which line comes first depends on the names, so that no template can fix it.

    Args:
        text: one import on each line.
        package: the package that the file belongs to: its imports are a section of their own.
    """
    sections: dict[int, list[tuple[int, str, str]]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        plain = _PLAIN_IMPORT.match(line)
        found = plain or _FROM_IMPORT.match(line)
        if found is None:
            raise ValueError(f"{line!r} is no import")
        top = found[1].partition(".")[0]
        section = 0 if top == "__future__" else 1 if top in sys.stdlib_module_names else 3 if top == package else 2
        sections.setdefault(section, []).append((0 if plain else 1, found[1].lower(), line))
    blocks = ["\n".join(_wrapped(line) for *_, line in sorted(lines)) for _, lines in sorted(sections.items())]
    return "\n\n".join(blocks) + "\n"


def _wrapped(line: str) -> str:
    """Return an import with its names in order, each on a line of its own if there are too many."""
    head, _, listed = line.partition(" import ")
    if not listed:
        return line
    names = sorted(listed.split(", "), key=_rank)
    line = f"{head} import {', '.join(names)}"
    return line if len(line) <= _WIDTH else f"{head} import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def _rank(name: str) -> tuple[int, str, str]:
    """Constants come first, then classes, then the others, as ruff tells them apart."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2), name.lower(), name
