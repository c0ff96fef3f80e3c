"""Errors of Hydra and OmegaConf as one line: what is wrong, where it was set, which names would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from lab.config.defaults import Default, option_files, read_defaults
from lab.config.group_files import find_file, groups, options, shorten
from lab.config.origins import find_origin
from lab.config.spelling import obstacle, value_of
from lab.config.words import parse_word, word_key
from lab.errors import ConfigError, closest
from lab.text import one_line

Known = Callable[[str], dict[str, Any]]
"""Composes without the overrides of one key."""


def explain(
    error: Exception, overrides: list[str], folders: Sequence[Path], choices: Mapping[str, str], known: Known
) -> ConfigError:
    """Turn an exception of the compose step into a ConfigError.

    Args:
        error: the exception.
        overrides: the overrides of the command line.
        folders: the folders of the groups.
        choices: the chosen options, if composing came that far.
        known: composes without the overrides of one key, to find the keys that exist.
    """
    text = str(error) or str(error.__cause__)
    sweep = re.search(r"Ambiguous value for argument '(.+?)'\s|Sweep parameters '(.+?)' requires", text)
    if sweep is not None:
        word = sweep.group(1) or sweep.group(2)
        return ConfigError(f"{word}: several values are a sweep: add -m; a list is written [a,b], a text 'a,b'")
    if isinstance(error, OverrideParseException):
        return ConfigError(unreadable(error, overrides))
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"a YAML file of the groups cannot be read: {one_line(error)}")
    if isinstance(error, MissingConfigException):
        return ConfigError(_missing_option(text, overrides, folders))
    if "group override must be a string" in text:
        return ConfigError(_no_option(overrides, folders))
    if isinstance(error, OmegaConfBaseException):
        return ConfigError(_unresolved(error, overrides, folders, choices))
    word = _word_in(text, overrides)
    if word is not None:
        return ConfigError(_wrong_word(word, f"{text} {error.__cause__}", folders, known))
    group = re.search(r"Could not override '([^']+)'", text)
    if group is not None:
        name = group.group(1)
        where = _file_that_chooses(name, None, overrides, folders)
        return ConfigError(f"override /{name}: there is no such group{where}{closest(name, groups(folders))}")
    text = one_line(text.split("full_key:")[0])
    inside = re.match(r"In '([^']+)': (?:\w+ raised while composing config: )?(.*)", text)
    path = find_file(inside.group(1), folders) if inside is not None else None
    return ConfigError(f"{shorten(path)}: {inside.group(2)}" if inside is not None and path is not None else text)


def unreadable(error: OverrideParseException, words: Sequence[str] = ()) -> str:
    """Return a line that names the override that cannot be parsed and the character that causes it.

    Args:
        error: Hydra's exception.
        words: the overrides as typed; Hydra may have been given one with a ``++`` before it.
    """
    word = str(error.override)
    if word not in words and word.removeprefix("++") in words:
        word = word.removeprefix("++")
    key = word_key(word)
    if not re.fullmatch(r"[A-Za-z0-9_./@:-]+", key):
        return f"{word}: {key!r} is no key; write key=value, or see --help"
    problem = obstacle(value_of(word))
    if problem is None:
        problem = one_line(error.message or error).split(" See https://")[0]
        problem = problem.removeprefix(f"Error parsing override '{error.override}' ")
    return f"{word}: the value cannot be read ({problem}); a text with signs is quoted: \"{key}='...'\""


def _word_in(text: str, overrides: Sequence[str]) -> str | None:
    """Return the override that a message is about: the message has it whole, or its key in quotes."""
    for word in reversed(overrides):
        if (
            f"'{word.lstrip('~')}'" in text
            or f"'{word}'" in text
            or f"override {word}" in text
            or f"'{word_key(word)}'" in text
        ):
            return word
    multiple = re.search(r"Multiple values for ([^.\s]+)\.", text)
    key = multiple.group(1) if multiple else None
    return next((word for word in reversed(overrides) if word_key(word) == key), None)


def _missing_option(text: str, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    missing = re.search(r"Could not (?:find|load) '([^']+)'", text)
    group, _, option = (missing.group(1) if missing else "").rpartition("/")
    known = options(group, folders)
    near = closest(option, known) or f"; there are: {', '.join(known) or 'none'}"
    asked = any(word_key(word) == group and option in word for word in overrides)
    where = "" if asked else _file_that_chooses(group, option, overrides, folders)
    return f"{group}={option}: no such {group}{where}{near}"


def _file_that_chooses(group: str, option: str | None, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Return `` (in FILE)`` for the chosen file whose defaults list names an option of a group; ``""`` if none does.

    Args:
        group: the group.
        option: None for any.
        overrides: the overrides of the command line, which choose the files.
        folders: the folders of the groups.
    """
    for word in map(parse_word, overrides):
        for path in option_files(word.key, word.shown, folders):
            if any(each.group == group and option in (None, each.option) for each in read_defaults(path, word.key)):
                return f" (in {shorten(path)})"
    return ""


def _no_option(overrides: Sequence[str], folders: Sequence[Path]) -> str:
    known = groups(folders)
    for word in overrides:
        key = word_key(word)
        if key in known and not options_named(word, key, folders):
            return f"{word}: {key} takes the name of an option: {', '.join(options(key, folders))}"
        if not key:
            return f"{word}: write key=value, or see --help"
    return "a group takes the name of one of its options; see --help"


def options_named(word: str, group: str, folders: Sequence[Path]) -> bool:
    """Whether an override such as ``data=coco`` names an option that exists."""
    return parse_word(word).shown in options(group, folders)


def _unresolved(
    error: OmegaConfBaseException, overrides: Sequence[str], folders: Sequence[Path], choices: Mapping[str, str]
) -> str:
    """Return the line for an interpolation of a missing key, or a value ``???``."""
    problem = re.split(r"\s*\n?\s*full_key:", str(error))[0]
    problem = one_line(problem)
    key = error.full_key or ""
    if "Missing mandatory value" in problem:
        problem = "a value is needed"
    if problem.startswith("KeyError raised while resolving interpolation"):
        problem = problem.split(": ", 1)[1].strip('"')
    if not key:
        return problem
    return f"{key}: {problem[0].lower()}{problem[1:]} ({find_origin(key, overrides, folders, choices)})"


def _wrong_word(word: str, text: str, folders: Sequence[Path], known: Known) -> str:
    key = word_key(word)
    if "Multiple values" in text or "force-add" in text:
        return f"{word}: {key} is chosen already; write {word.lstrip('+')}"
    if "Could not append" in text:
        return f"{word}: {key} is there already; write {word.lstrip('+')}"
    if "Could not delete '" in text:
        return f"{word}: there is nothing to leave out: that option is not chosen"
    if "The value of" in text and word.startswith("~"):
        return f"{word}: {one_line(text).removeprefix('Could not delete from config. ')}"
    group = key.partition("@")[0]
    brought = _brought_by(group.partition(".")[0], folders)
    if brought and group.partition(".")[0] not in known(key):
        return f"{word}: only a config with {brought} has the group {group.partition('.')[0]} (set on the command line)"
    if "looks like a config group" in text or "No match in the defaults list" in text or "/" in key or "@" in key:
        near = closest(group, groups(folders)) or _listed(groups(folders))
        return f"{word}: there is no group {key!r} (set on the command line){near}"
    inside = re.search(r"Key '([^']+)' is not in struct", text)
    return _unknown_key(word, folders, known(key), inside.group(1) if inside is not None else "")


def _brought_by(group: str, folders: Sequence[Path]) -> str:
    """Return the options that bring a group which config.yaml does not list, ``eval=NAME``; ``""`` if none does."""
    if not options(group, folders):
        return ""
    files = [path for folder in folders for path in sorted(folder.glob("*/*.yaml"))]
    bring = [path for path in files if any(_brings(each, group) for each in read_defaults(path, path.parent.name))]
    return " or ".join(dict.fromkeys(f"{path.parent.name}={path.stem}" for path in bring))


def _brings(default: Default, group: str) -> bool:
    return default.group == group and default.package == f"_global_.{group}" and not default.override


def _unknown_key(word: str, folders: Sequence[Path], config: Mapping[str, Any], inside: str) -> str:
    """Return a line that names the first part of the key that does not exist, and the keys that do.

    Args:
        word: the override.
        folders: the folders of the groups.
        config: the config without the override.
        inside: the unknown key, if it is in the override's value, as in ``optimizer={lrr: 1}``.
    """
    parts = word_key(word).split(".")
    if "{" in word and parts[-1] != inside:
        parts.append(inside)
    node: Any = config
    for index, part in enumerate(parts):
        if not isinstance(node, Mapping):
            path = ".".join(parts[:index])
            return f"{word}: {path} is the value {node!r} and holds no key {part!r} (set on the command line)"
        if part not in node:
            break
        node = node[part]
    else:
        return f"{word}: {word_key(word)} cannot be set like this (set on the command line)"
    names = [str(name) for name in node] + (groups(folders) if not index and len(parts) == 1 else [])
    near = closest(part, dict.fromkeys(names)) or _listed(names)
    return f"{word}: unknown key {part!r} in {'.'.join(parts[:index]) or 'the config'} (set on the command line){near}"


def _listed(names: Sequence[str]) -> str:
    return f"; there are {', '.join(dict.fromkeys(names))}" if names else ""
