"""The options of a shipped group with their defaults, read without composing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.config.origins import config_dir, find_file, options, read


def group_options(group: str) -> dict[str, dict[str, Any]]:
    """Return the content of each option of a group whose options hold plain values and name each other as defaults.

    Args:
        group: ``strategy`` for instance.
    """
    folders = [config_dir()]
    return {name: _merged(group, name, folders) for name in options(group, folders)}


def _merged(group: str, name: str, folders: list[Path]) -> dict[str, Any]:
    path = find_file(f"{group}/{name}", folders)
    content = read(path) if path else {}
    merged: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        merged |= _merged(group, base, folders)
    return merged | content
