"""Where a key of the config was set: on the command line, or in which YAML file of the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.config.aliases import old_names
from lab.config.defaults import option_files, own_content
from lab.config.group_files import shorten
from lab.config.words import parse_word


def find_origin(key: str, overrides: Sequence[str], folders: Sequence[Path], choices: Mapping[str, str]) -> str:
    """Return where the dotted ``key`` was set, in order of precedence: command line, recipe, model, group."""
    for word in map(parse_word, reversed(overrides)):
        name = word.key
        if name in choices and word.sign != "~" and not isinstance(word.value, dict):
            continue  # this chooses a group's option; the key itself is set in a file
        if name == key or key.startswith(f"{name}.") or name.startswith(f"{key}."):
            return f"set on the command line: {word.text}"
    group = key.split(".", 1)[0]
    for chosen in dict.fromkeys(("experiments", "model", group)):
        for path in option_files(chosen, choices.get(chosen, ""), folders):
            if _sets(own_content(path), key, chosen):
                return f"set in {shorten(path)}"
    if group in choices and group != key:
        return f"{group}={choices[group]}"
    root = folders[0] / "config.yaml"
    if "." in key and not _has(own_content(root), key.split(".")):
        return find_origin(key.rpartition(".")[0], overrides, folders, choices)
    return f"set in {shorten(root)}"


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
