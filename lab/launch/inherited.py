"""What a job takes over from the run that ``ckpt`` or ``resume`` names: its recorded overrides and config folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.config.words import word_key, word_values
from lab.errors import ConfigError, RunError
from lab.run_directory import RunDirectory

_NOT_INHERITED = ("stage", "ckpt", "input", "check", "resume")
_ANEW = ("strategy", "optimizer", "scheduler")
"""Groups whose options have different keys: keys set for one option are not inherited by another."""


def inherit(
    overrides: list[str], user_dirs: list[str], own_data: bool = False
) -> tuple[list[str], list[str], Path | None]:
    """Put the recorded overrides of the run that ``ckpt`` or ``resume`` names before the new ones.

    Args:
        overrides: the new overrides.
        user_dirs: further config folders.
        own_data: whether a Python caller gives a DataModule object.

    Returns:
        The overrides to compose, the config folders, and the run's directory (None if no run is named).

    Raises:
        RunError: the run's overrides are lost, or it was made with a DataModule object that is not given now.
    """
    home = _home_named(overrides, user_dirs)
    if home is None:
        return overrides, user_dirs, None
    run = RunDirectory(home)
    record = run.record
    if "overrides" not in record:
        raise RunError(
            f"{run.file} is {run.damage or 'missing'}: the overrides of this run are not known; repeat its own "
            "command, which repairs the file, or copy the checkpoint elsewhere and give model=, data= and the rest"
        )
    if record.get("own_data") and not own_data and "data" not in {word_key(word) for word in overrides}:
        raise RunError(
            f"{home} was made from Python with a DataModule of the caller's own, {record['own_data']}: pass one from "
            "Python (data=...), or name another dataset by data="
        )
    inherited = recorded_words(record["overrides"], overrides, own_data)
    return [*inherited, *overrides], [*record.get("config_dirs", []), *user_dirs], home


def recorded_words(
    recorded: list[str], overrides: list[str], own_data: bool = False, without: tuple[str, ...] = _NOT_INHERITED
) -> list[str]:
    """Return the recorded overrides of a run that count beside new ones.

    Args:
        recorded: those of the run.
        overrides: the new ones, which replace recorded ones of the same key.
        own_data: whether a Python caller gives a DataModule object, so that none of the data's count.
        without: keys that are never taken over.
    """
    given = {word_key(word) for word in overrides}
    return [
        word
        for word in recorded
        if (key := word_key(word)) not in given
        and key not in without
        and not (own_data and key.partition(".")[0] == "data")
        and not (key.partition(".")[0] in _ANEW and key.partition(".")[0] in given)
    ]


def refuse_foreign_packages(
    names: list[str], home: Path, words: list[str], overrides: list[str], user_dirs: list[str]
) -> None:
    """Refuse packages that only a run directory asks to import, by its recorded overrides or config folders.

    A run directory may come from a stranger. Packages are imported only if the user names them: in overrides given
    now, or in a YAML of the shipped folder or of a ``--config-dir`` given now.

    Raises:
        ConfigError: with the override that allows them.
    """
    if not names:
        return
    from lab.config.compose import compose_config

    others = [word for word in words[: len(words) - len(overrides)] if not _is_of_packages(word)]
    try:
        own = compose_config([*others, *overrides], user_dirs).config["extensions"]
    except ConfigError:  # they need options of the run's own config folders
        own = compose_config(list(filter(_is_of_packages, overrides)), user_dirs).config["extensions"]
    foreign = [name for name in names if name not in own]
    if foreign:
        raise ConfigError(
            f"{home} asks for packages to be imported, {', '.join(foreign)}, which runs their code: "
            f"add extensions=[{','.join(names)}] if you trust them"
        )


def refuse_other_network(config: Mapping[str, Any], home: Path, overrides: list[str], folders: list[str]) -> None:
    """Refuse new settings of a network that is loaded from a run's checkpoint as it was trained, and would ignore them.

    Args:
        config: of a stage that trains nothing.
        home: the run's directory.
        overrides: those given now.
        folders: config folders, the run's own among them.

    Raises:
        ConfigError: one says something else than the run.
    """
    if not any(word_key(word).partition(".")[0] == "model" for word in overrides):
        return
    from lab.config.compose import compose_config

    trained = compose_config(RunDirectory(home).record["overrides"], folders).config["model"]["net"]
    given = config["model"]["net"]
    for key in {**trained, **given}:
        if given.get(key) != trained.get(key):
            raise ConfigError(
                f"model.net.{key}={given.get(key)}: stage={config['stage']} takes the network of ckpt as it was "
                f"trained, with {key}={trained.get(key)}; leave it out"
            )


def _is_of_packages(word: str) -> bool:
    return word_key(word).partition(".")[0] == "extensions"


def _home_named(overrides: list[str], user_dirs: list[str]) -> Path | None:
    """Return the directory of the run that ``resume`` names, or ``ckpt`` in a stage that trains nothing."""
    values = word_values(overrides, ("stage", "ckpt", "resume"))
    if any("${" in value for value in values.values()):  # these depend on the config
        from lab.config.compose import compose_config

        own = [word for word in overrides if word_key(word).partition(".")[0] in (*_NOT_INHERITED, "paths")]
        config = compose_config(own, user_dirs).config
        values = {key: str(config[key]) for key in values if config[key] is not None}
    if values.get("stage", "fit") != "fit":
        if not values.get("ckpt"):
            return None
        folder = Path(values["ckpt"]).resolve().parent
        home = folder.parent
        of_run = folder.name == "checkpoints" and (home / "config.yaml").exists()
        return home if of_run or os.path.lexists(home / "run.json") else None
    if values.get("resume", "auto") in ("auto", "never", ""):
        return None
    home = Path(values["resume"])
    return home if os.path.lexists(home / "run.json") else None
