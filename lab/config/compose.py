"""Composes overrides into a resolved config; every error is one line that names the key and the fix.

This is the only module that composes with Hydra. ``lab.config.refusals`` turns Hydra's errors into a ConfigError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lab.compat.hydra import choices_when_asked, forget_composed
from lab.compat.omegaconf import by_libyaml
from lab.config import user_files
from lab.config.aliases import renamed_words
from lab.config.group_files import SEVERAL, config_dir, find_file, groups, options, shorten
from lab.config.origins import find_origin
from lab.config.refusals import explain
from lab.config.spelling import spelled
from lab.config.words import parse_word, word_key
from lab.errors import ConfigError

__all__ = ["Composed", "compose_config", "config_dir", "groups", "options"]


_OPEN = re.compile(r"(model\.net|model\.asks|model\.learning|data|data\.augmentation)\.\w+")
"""Keys that may be set although no YAML lists them: the target's signature or the kind of problem defines them."""


@dataclass
class Composed:
    """A resolved config and where it came from.

    Attributes:
        config: plain dicts, lists, strings and numbers.
        overrides: the overrides that were composed.
        search_path: the folders of the groups: the shipped one, then the user's.
        choices: the chosen option of each group.
        own_data: whether ``data`` describes a DataModule object of the caller, so that its target is not built.
        notes: lines to print when the job begins: what it has decided by itself.
    """

    config: dict[str, Any]
    overrides: list[str]
    search_path: list[Path] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    own_data: bool = False
    notes: list[str] = field(default_factory=list)

    def origin(self, key: str) -> str:
        """Return where the dotted ``key`` was set: on the command line, or in which file."""
        return find_origin(key, self.overrides, self.search_path, self.choices)


def compose_config(overrides: Sequence[str], user_dirs: Iterable[str] = (), root: str = "config") -> Composed:
    """Compose and resolve the config for the overrides of a command line.

    Args:
        overrides: Hydra overrides such as ``model=detr`` or ``optimizer.lr=1e-3``.
        user_dirs: further folders with groups and recipes (``--config-dir``).
        root: the file that lists the groups: ``config`` for a job, ``sweep`` for what a sweep adds.

    Raises:
        ConfigError: a group option or key is unknown, or an override cannot be parsed; one line.
    """
    overrides = renamed_words(spelled(overrides))
    folders = [config_dir(), *_existing(user_dirs)]
    typed = [parse_word(word) for word in overrides]
    words = [f"++{word.text}" if not word.sign and _OPEN.fullmatch(word.key) else word.text for word in typed]
    for word in typed:
        if word.key.split("/")[0].split(".")[0] == "hydra":
            raise ConfigError(f"{word.text}: Hydra's own settings are fixed; paths.runs_dir says where runs go")
        if word.shown.startswith("[") and word.key in groups(folders) and word.key not in SEVERAL:
            raise ConfigError(f"{word.text}: one option is chosen of a group: {', '.join(options(word.key, folders))}")
    if len(folders) > 1:
        user_files.register()
        joined = ",".join(f"'{user_files.SCHEME}://" + str(folder).replace("'", "\\'") + "'" for folder in folders[1:])
        words.append(f"hydra.searchpath=[{joined}]")
    choices: dict[str, str] = {}
    forget_composed()
    with initialize_config_dir(str(folders[0]), version_base="1.3"):
        try:
            with by_libyaml(), choices_when_asked():
                composed = compose(root, words, return_hydra_config=True)
            choices |= {key: str(value) for key, value in composed.hydra.runtime.choices.items()}
            OmegaConf.set_struct(composed, False)
            del composed["hydra"]
            config = _plain(composed, choices, folders)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            known = _without(overrides, folders, root)
            raise explain(error, list(overrides), folders, choices, known) from error
    return Composed(config, list(overrides), folders, choices)


def _without(overrides: Sequence[str], folders: Sequence[Path], root: str) -> Any:
    """Return a function that composes the overrides without those of one key, to find the keys that exist.

    If the overrides have a second mistake, it uses only the chosen options of groups that can be composed.
    """
    user_dirs = [str(folder) for folder in folders[1:]]

    def known(key: str) -> dict[str, Any]:
        others = [word for word in overrides if word_key(word) != key]
        try:
            return compose_config(others, user_dirs, root).config
        except ConfigError:
            chosen: list[str] = []
        config: dict[str, Any] = {}
        for word in ["", *(word for word in others if word_key(word) in groups(folders))]:
            try:
                config = compose_config([*chosen, word] if word else [], user_dirs, root).config
            except ConfigError:
                continue  # the second mistake: it is reported after the first one is corrected
            chosen += [word] if word else []
        return config

    return known


def _plain(composed: DictConfig, choices: dict[str, str], folders: Sequence[Path]) -> dict[str, Any]:
    config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    if not isinstance(config, dict):
        raise ConfigError("conf/config.yaml is not a mapping")
    if config.pop("experiments", None):
        path = find_file(f"experiments/{choices.get('experiments')}", folders)
        raise ConfigError(f"{shorten(path) if path else 'experiments'}: its first line must be '# @package _global_'")
    for group in ("model", "data"):
        if isinstance(config.get(group), dict):
            config[group].setdefault("name", choices.get(group, group))
    return config  # type: ignore[return-value]


def _existing(user_dirs: Iterable[str]) -> list[Path]:
    folders = [Path(folder).resolve() for folder in user_dirs]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: no such folder; it holds groups such as model/ and experiments/")
    return folders
