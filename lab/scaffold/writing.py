"""Writes files that do not exist yet: all of them, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lab.errors import ConfigError


def write_new(root: Path, files: Mapping[str, str]) -> None:
    """Write text files below a folder; those that exist are never replaced.

    All of them are first written to a folder beside, then each gets its name. If one cannot, those that have theirs are
    removed again, as are the folders that were made.

    Args:
        root: the folder; it is made if it does not exist.
        files: path relative to ``root``, to text.

    Raises:
        ConfigError: one of the files exists.
        OSError: one cannot be written.
    """
    check_new(root, files)
    above = next(folder for folder in (root, *root.parents) if folder.is_dir())
    aside = above / f".lab-new-{os.getpid()}"
    made: list[Path] = []
    try:
        for name, text in files.items():
            _folder(aside / Path(name).parent, [])
            (aside / name).write_text(text, encoding="utf-8", newline="")
        for name in files:
            path = root / name
            _folder(path.parent, made)
            _move(aside / name, path)
            made.append(path)
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_new(root: Path, files: Mapping[str, str]) -> None:
    """Refuse files that exist.

    Raises:
        ConfigError: one does, or a folder on the way is a file.
    """
    for name in files:
        path = root / name
        if os.path.lexists(path):
            raise ConfigError(f"{path} exists already, and nothing is overwritten: take another name, or remove it")
        block = next((folder for folder in path.parents if os.path.lexists(folder) and not folder.is_dir()), None)
        if block is not None:
            raise ConfigError(f"{block} is a file, and {path} needs a folder there")


def _folder(path: Path, made: list[Path]) -> None:
    """Make a folder and those above it; the new ones are added to ``made``."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.append(folder)


def _move(fresh: Path, path: Path) -> None:
    """Give a file its name, unless the name was taken meanwhile."""
    try:
        os.link(fresh, path)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already, and nothing is overwritten") from error
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise ConfigError(f"{path} exists already, and nothing is overwritten") from None
        fresh.rename(path)
