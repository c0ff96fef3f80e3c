"""The folders of the groups and their YAML files: the shipped folder first, then the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.errors import ConfigError
from lab.text import one_line

SWEEP_GROUPS = ("launcher", "sweeper")
"""Groups that a sweep has, and none of its jobs."""

SEVERAL = ("logger",)
"""Groups of which a job may choose several options, ``logger=[wandb,tensorboard]``; their contents are merged."""


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
    """Return the groups of a job's config in these folders, sorted."""
    return sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()} - {*SWEEP_GROUPS})


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of ``group/option``; the first folder wins, as in Hydra's search path."""
    return next((path for folder in folders if (path := folder / f"{name}.yaml").is_file()), None)


def read(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file of a group; ``{}`` if it is empty.

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


def shorten(path: Path) -> str:
    """Return a path relative to the working directory, if it is below that."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
