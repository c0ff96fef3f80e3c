"""From the words of a command line to a resolved config, with refusals of one line that name the key and the fix.

Hydra composes, here and nowhere else. Its exceptions are turned into ConfigErrors that say what was wrong, where it
was set and which names would have been right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lab.errors import ConfigError, closest


def config_dir() -> Path:
    """Return the folder of the shipped groups: ``conf/`` beside run.py, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent / "conf", package / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"conf/config.yaml is neither beside {package} nor inside it: reinstall lab")


@dataclass
class Composed:
    """A resolved config and where it came from.

    Attributes:
        config: plain dicts, lists, strings and numbers.
        overrides: the words that were composed.
        files: the YAML files of the shipped and the user's groups, as ``group/option``, last one first.
    """

    config: dict[str, Any]
    overrides: list[str]
    search_path: list[Path] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """Say where the dotted ``key`` was set: on the command line, or in which file."""
        for word in reversed(self.overrides):
            name = word.split("=", 1)[0].lstrip("+~")
            if name == key or key.startswith(f"{name}.") or name.startswith(f"{key}."):
                return f"set on the command line: {word}"
        group, _, rest = key.partition(".")
        names = [f"experiments/{self.choices.get('experiments')}", f"model/{self.choices.get('model')}"]
        names += [f"{group}/{self.choices.get(group)}", "config"]
        for name in names:
            for folder in self.search_path:
                path = folder / f"{name}.yaml"
                if path.is_file() and _mentions(path, key, rest):
                    return f"set in {_short(path)}"
        return "set in conf/config.yaml"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _mentions(path: Path, key: str, rest: str) -> bool:
    content = OmegaConf.load(path)
    return any(OmegaConf.select(content, name, throw_on_missing=False) is not None for name in (key, rest) if name)


def compose_config(overrides: Sequence[str], user_dirs: Iterable[str] = ()) -> Composed:
    """Compose and resolve the config for the words of a command line.

    Args:
        overrides: Hydra overrides such as ``model=detr`` or ``optimizer.lr=1e-3``.
        user_dirs: further folders with groups and recipes (``--config-dir``).

    Raises:
        ConfigError: a group option or key is unknown, or a word cannot be parsed; one line.
    """
    folders = [config_dir(), *_existing(user_dirs)]
    words = list(overrides)
    if len(folders) > 1:
        joined = ",".join(f"'file://{folder}'" for folder in folders[1:])
        words.append(f"hydra.searchpath=[{joined}]")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folders[0]), version_base="1.3"):
        try:
            composed = compose("config", words, return_hydra_config=True)
            choices = {key: str(value) for key, value in composed.hydra.runtime.choices.items()}
            OmegaConf.set_struct(composed, False)
            del composed["hydra"]
            config = _plain(composed, choices)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise _explain(error, list(overrides), folders) from error
    return Composed(config, list(overrides), folders, choices)


def _plain(composed: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    if not isinstance(config, dict):
        raise ConfigError("conf/config.yaml is not a mapping")
    config.pop("experiments", None)
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


def options(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the options of a group in these folders, sorted."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def groups(folders: Sequence[Path]) -> list[str]:
    """Return the groups of these folders, sorted."""
    return sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()})


def _explain(error: Exception, overrides: list[str], folders: Sequence[Path]) -> ConfigError:
    """Turn what Hydra or OmegaConf raised into one line: what, where, what would be right."""
    text = str(error) or str(error.__cause__)
    if isinstance(error, MissingConfigException):
        missing = re.search(r"Could not find '([^']+)'", text)
        group, _, option = (missing.group(1) if missing else "").rpartition("/")
        known = options(group, folders)
        near = closest(option, known) or f"; there are: {', '.join(known) or 'none'}"
        return ConfigError(f"{group}={option}: no such {group}{near}")
    word = next((word for word in overrides if _key(word) and f"'{_key(word)}'" in text), None)
    if "Could not override" in text or "not in struct" in text:
        return ConfigError(_unknown_key(word or _quoted(text), folders, overrides))
    if "Could not find group" in text or "No match in the defaults list" in text:
        name = word or _quoted(text)
        return ConfigError(f"{name}: no such group{closest(_key(name), groups(folders))}")
    return ConfigError(" ".join(text.split()))


def _key(word: str) -> str:
    return word.split("=", 1)[0].lstrip("+~")


def _quoted(text: str) -> str:
    quoted = re.search(r"'([^']+)'", text)
    return quoted.group(1) if quoted else text


def _unknown_key(word: str, folders: Sequence[Path], overrides: list[str]) -> str:
    key = _key(word)
    parent, _, leaf = key.rpartition(".")
    others = [other for other in overrides if _key(other) != key]
    try:
        known = compose_config(others, map(str, folders[1:])).config
    except ConfigError:
        known = {}
    node: Any = known
    for part in parent.split(".") if parent else []:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    names = list(node) if isinstance(node, dict) else []
    near = closest(leaf, names) or (f"; it has {', '.join(names)}" if names else "")
    return f"{word}: unknown key {leaf!r} in {parent or 'the config'} (set on the command line){near}"
