"""Where a key of the config was set: on the command line, or in which YAML file of the groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.config.aliases import old_names
from lab.config.words import parse_word
from lab.errors import ConfigError


def config_dir() -> Path:
    """Return the folder of the shipped groups: ``conf/`` beside run.py, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent / "conf", package / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"conf/config.yaml is neither beside {package} nor inside it: reinstall lab")


def options(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the options of a group in these folders, sorted."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def groups(folders: Sequence[Path]) -> list[str]:
    """Return the groups of these folders, sorted."""
    return sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()})


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of ``group/option``; the first folder wins, as in Hydra's search path."""
    return next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)


def read(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file of a group; ``{}`` where it is empty.

    Raises:
        ConfigError: it is no YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shorten(path)} is no valid YAML: {one_line(error)}") from None
    if not isinstance(content, dict | None):
        raise ConfigError(f"{shorten(path)} holds a {type(content).__name__}; a config is a mapping of keys")
    return content or {}


def one_line(error: object) -> str:
    """Return a message with its line breaks and repeated spaces taken out."""
    return " ".join(str(error).split())


def shorten(path: Path) -> str:
    """Return a path relative to the working directory where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def find_origin(key: str, overrides: Sequence[str], folders: Sequence[Path], choices: Mapping[str, str]) -> str:
    """Say where the dotted ``key`` was set; the strongest place first: command line, recipe, model, group."""
    for word in map(parse_word, reversed(overrides)):
        name = word.key
        if name in choices and word.sign != "~" and not isinstance(word.value, dict):
            continue  # the choice of a group's option; the key stands in a file
        if name == key or key.startswith(f"{name}.") or name.startswith(f"{key}."):
            return f"set on the command line: {word.text}"
    group = key.split(".", 1)[0]
    for chosen in dict.fromkeys(("experiments", "model", group)):
        for path in _with_defaults(chosen, choices.get(chosen, ""), folders):
            if _sets(read(path), key, chosen):
                return f"set in {shorten(path)}"
    if group in choices and group != key:
        return f"{group}={choices[group]}"
    if "." in key:
        return find_origin(key.rpartition(".")[0], overrides, folders, choices)
    return f"set in {shorten(folders[0] / 'config.yaml')}"


def _with_defaults(group: str, option: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the file of an option and of those that its defaults list names, itself first."""
    path = find_file(f"{group}/{option}", folders)
    if path is None:
        return
    yield path
    for item in read(path).get("defaults", []):
        if isinstance(item, str) and item not in ("_self_", option):
            yield from _with_defaults(group, item, folders)


def _sets(content: Mapping[str, Any], key: str, group: str) -> bool:
    keys = [key, *old_names(key)]
    names = keys + [each.split(".", 1)[1] for each in keys if each.startswith(f"{group}.")]
    return any(_has(content, name.split(".")) for name in names)


def _has(node: Any, parts: Sequence[str]) -> bool:
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True
