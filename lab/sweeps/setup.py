"""What a sweep is made of: the words of its jobs, its own settings, its name and directory. No torch."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lab.config.checks import typed
from lab.config.compose import compose_config
from lab.config.group_files import SWEEP_GROUPS
from lab.config.words import word_key
from lab.errors import ConfigError
from lab.run_name import SWEEPS
from lab.sweeps.settings import LauncherFile, SweepConfig
from lab.system.files import write_text

SETTINGS = "launcher.yaml"
_HEAD = """\
# The settings of this sweep. Change them and send the master SIGHUP (lab sweep reload), which reads them again.
# order: numbers of waiting jobs to start first. add: further jobs, each by overrides: "optimizer.lr=1e-5 seed=3".
# withdraw: numbers of jobs to take out.
"""
_NOT_IN_NAME = ("paths", "resume", "check")


@dataclass(frozen=True)
class SweepSetup:
    """A sweep as its command asks for it.

    Attributes:
        words: the overrides of its jobs, with all their values.
        user_dirs: further config folders.
        settings: those of the groups ``launcher`` and ``sweeper``.
        own_words: the overrides of the settings.
        command: the command line.
    """

    words: list[str]
    user_dirs: list[str]
    settings: SweepConfig
    own_words: list[str] = field(default_factory=list)
    command: str = ""

    @property
    def launcher(self) -> Any:
        """The settings of the launcher."""
        return self.settings.launcher

    @property
    def sweeper(self) -> Any:
        """The settings of the sweeper."""
        return self.settings.sweeper

    def directory(self, config: dict[str, Any]) -> Path:
        """Return the sweep's directory.

        Args:
            config: the resolved config of one of its jobs.
        """
        name = self.settings.sweep
        if name is None:
            words = [word for word in self.words if word_key(word).partition(".")[0] not in _NOT_IN_NAME]
            own = [word for word in self.own_words if word_key(word).partition(".")[0] == "sweeper"]
            digest = hashlib.sha256(json.dumps([words, own]).encode()).hexdigest()[:8]
            varied = {word_key(word) for word in self.words if "," in word or "(" in word}
            parts = [config[group]["name"] for group in ("model", "data") if group not in varied]
            name = "-".join([*parts, digest])
        return Path(config["paths"]["runs_dir"]) / SWEEPS / name


def is_of_sweep(word: str) -> bool:
    """Whether an override is about the sweep, not about its jobs."""
    return word_key(word).partition(".")[0] in (*SWEEP_GROUPS, "sweep")


def read_setup(overrides: Sequence[str], user_dirs: Sequence[str]) -> SweepSetup:
    """Take the overrides of a command apart, and compose those of the sweep.

    Raises:
        ConfigError: a setting of the sweep is wrong.
    """
    own = [word for word in overrides if is_of_sweep(word)]
    composed = compose_config(own, user_dirs, root="sweep")
    settings = SweepConfig.model_validate(typed(SweepConfig, composed.config, composed))
    if settings.sweep is not None and not _is_name(settings.sweep):
        raise ConfigError(f"sweep={settings.sweep}: a name of letters, digits, . _ and -, which becomes a folder")
    words = [word for word in overrides if not is_of_sweep(word)]
    command = shlex.join(["python", *sys.argv] if sys.argv[0].endswith(".py") else sys.argv)
    return SweepSetup(words, list(user_dirs), settings, own, command)


def refuse_sweep_words(overrides: Sequence[str]) -> None:
    """Refuse overrides that only a sweep has.

    Raises:
        ConfigError: there is one.
    """
    word = next(filter(is_of_sweep, overrides), None)
    if word is not None:
        raise ConfigError(f"{word}: this is of a sweep; add -m")


def write_settings(folder: Path, settings: LauncherFile) -> None:
    """Write ``launcher.yaml``."""
    write_text(folder / SETTINGS, _HEAD + yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))


def read_settings(folder: Path) -> LauncherFile:
    """Read ``launcher.yaml``.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
    """
    file = folder / SETTINGS
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return LauncherFile.model_validate(content)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "its content"
        raise ConfigError(f"{file}: {key}: {problem['msg'].removeprefix('Value error, ')}") from None


def _is_name(text: str) -> bool:
    return all(sign.isalnum() or sign in "._-" for sign in text) and text.strip(".") != ""
