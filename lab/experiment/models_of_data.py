"""Which models can be given the data that a command names, the smallest first. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.config.compose import config_dir, options
from lab.config.defaults import option_content
from lab.config.words import word_values

SMALL = "_tiny"
"""In the names of models that learn on a CPU in minutes."""


def fitting_models(words: Sequence[str], user_dirs: Iterable[str] = ()) -> list[str]:
    """Return the models for the kinds of problem of the data that words name, in the order of those kinds.

    Within a kind those that learn on a CPU come first, then those that ask least of the data, so that it stays as its
    own YAML has it.

    Args:
        words: overrides, ``data=NAME`` among them.
        user_dirs: further folders of groups.
    """
    folders = [config_dir(), *map(Path, user_dirs)]
    named = word_values(words, ["data"]).get("data", "")
    kinds = list(option_content("data", named, folders).get("tasks", ())) if named in options("data", folders) else []
    models = {name: option_content("model", name, folders).get("model", {}) for name in options("model", folders)}

    def cost(name: str) -> tuple[bool, int, str]:
        is_small = SMALL in name and not any(map(str.isdigit, name))  # swin_tiny_patch4_window7_224 asks for 224 pixels
        return not is_small, len(models[name].get("asks") or {}), name

    return [name for kind in kinds for name in sorted(models, key=cost) if models[name].get("task") == kind]
