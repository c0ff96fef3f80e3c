"""Renamed keys and options: the old names still work, and a note gives the new one.

Old names may be used in overrides, in YAML files of a user's ``--config-dir``, in the recorded overrides of an old run,
and in its ``config.yaml``. They are rewritten when they are read, so no other module knows old names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from lab.config.spelling import value_of
from lab.config.words import parse_word
from lab.errors import ConfigError

log = logging.getLogger(__name__)

KEYS: dict[str, str] = {
    f"model.{key}": f"model.asks.{key}"
    for key in ("image_size", "segments", "batching", "max_length", "num_negatives", "negative_alpha")
} | {f"eval.{key}": f"model.learning.{key}" for key in ("loss", "label_smoothing", "class_weights")}
"""The new key of each old one, dotted: ``"model.a": "model.b.a"``. Keys below an old key move with it."""
OF_EVAL = (None, "classification")
"""Keys of the group ``eval`` have moved in files and records whose ``eval.name`` is one of these; another kind of
problem may have a key of that name."""
OPTIONS: dict[tuple[str, str], str] = {("eval", "none"): "detection", ("eval", "ranking"): "recommendation"}
"""The new name of each old option, which is also the ``name`` in the group: ``("eval", "a"): "b"``."""


def renamed_words(words: Sequence[str]) -> list[str]:
    """Return overrides with new names instead of old ones."""
    return [_renamed_word(word) for word in words]


def _renamed_word(text: str) -> str:
    word = parse_word(text)
    if not word.is_read:
        return text
    group, at, package = word.key.partition("@")
    option = _new_option(group, word.value)
    if option is not None:
        return f"{word.sign}{group}{at}{package}={option}"
    value = _renamed_references(value_of(text))
    key = _new_key(word.key)
    return f"{word.sign}{key}={value}" if "=" in text else f"{word.sign}{key}"


def renamed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded, composed config with new names instead of old ones.

    Raises:
        ConfigError: the config has a key under both of its names.
    """
    return renamed_file(config, "", "the recorded config")


def renamed_file(content: Mapping[str, Any], package: str, source: str, group: str = "") -> dict[str, Any]:
    """Return the content of a YAML file of a group with new names instead of old ones.

    Args:
        content: plain values, in which references such as ``${model.a}`` are not resolved.
        package: the dotted path in the config where the content goes; ``""`` for the whole config.
        source: the file, for messages.
        group: the folder of the file, ``"eval"`` for instance. Bare options in its defaults list are of this group.

    Raises:
        ConfigError: the file has a key under both of its names.
    """
    renamed: dict[str, Any] = _with_references(content)
    if "defaults" in renamed:
        renamed["defaults"] = _renamed_defaults(renamed["defaults"], group)
    root = _wrapped(renamed, package)
    for old, new in KEYS.items():
        parent, last = _parent(root, old)
        if parent is None or last not in parent:
            continue
        if old.startswith("eval.") and parent.get("name") not in OF_EVAL:
            continue
        value = parent.pop(last)
        target, name = _parent(root, new, make=True)
        if target is None or name in target:
            raise ConfigError(f"{source}: {old} is now {new}, and both are set: leave {old} out")
        target[name] = value
        _tell(old, new)
    for chosen in {of for of, _ in OPTIONS}:
        node = root.get(chosen)
        if isinstance(node, dict) and "name" in node:
            node["name"] = _new_option(chosen, node["name"]) or node["name"]
    return _unwrapped(root, package, source)


def old_names(key: str) -> list[str]:
    """Return the old names of a key."""
    return [old + key[len(new) :] for old, new in KEYS.items() if key == new or key.startswith(f"{new}.")]


def _new_key(key: str) -> str:
    """Return the new name of a key; print a note if it differs."""
    for old, new in KEYS.items():
        if key == old or key.startswith(f"{old}."):
            _tell(old, new)
            return new + key[len(old) :]
    return key


def _new_option(group: str, option: Any) -> str | None:
    """Return the new name of an option of a group; None if it was not renamed."""
    new = OPTIONS.get((group, option)) if isinstance(option, str) else None
    if new is not None:
        _tell(f"{group}={option}", f"{group}={new}")
    return new


def _renamed_references(text: str) -> str:
    """Return a text with new names in its references: ``${model.a}``, ``${oc.select:model.a,1}``."""
    for old, new in KEYS.items() if "${" in text else ():
        text, count = re.subn(rf"(\$\{{(?:oc\.\w+:)?\s*){re.escape(old)}(?![\w])", rf"\g<1>{new}", text)
        if count:
            _tell(old, new)
    return text


def _with_references(value: Any) -> Any:
    if isinstance(value, str):
        return _renamed_references(value)
    if isinstance(value, Mapping):
        return {key: _with_references(item) for key, item in value.items()}
    return [_with_references(item) for item in value] if isinstance(value, list) else value


def _renamed_defaults(items: Any, group: str) -> Any:
    """Return a defaults list with new options instead of old ones."""
    if not isinstance(items, list):
        return items  # Hydra reports the mistake
    renamed: list[Any] = []
    for item in items:
        if isinstance(item, str):
            renamed.append(_new_option(group, item) or item)
        elif isinstance(item, dict):
            named = {name: (name.split()[-1].strip("/").partition("@")[0], option) for name, option in item.items()}
            renamed.append({name: _new_option(*pair) or pair[1] for name, pair in named.items()})
        else:
            renamed.append(item)
    return renamed


def _wrapped(content: dict[str, Any], package: str) -> dict[str, Any]:
    for part in reversed(package.split(".") if package else []):
        content = {part: content}
    return content


def _unwrapped(root: dict[str, Any], package: str, source: str) -> dict[str, Any]:
    node = root
    for part in package.split(".") if package else []:
        others = [key for key in node if key != part]
        if others:
            raise ConfigError(f"{source}: its keys go to {package}, but one of them has moved outside: {others[0]}")
        node = node[part]
    return node


def _parent(root: dict[str, Any], key: str, make: bool = False) -> tuple[dict[str, Any] | None, str]:
    """Return the mapping that holds the last part of a dotted key, or None if there is none, and that last part."""
    *parts, last = key.split(".")
    node: Any = root
    for part in parts:
        if make and isinstance(node, dict):
            node.setdefault(part, {})
        node = node.get(part) if isinstance(node, dict) else None
    return (node, last) if isinstance(node, dict) else (None, last)


@cache
def _tell(old: str, new: str) -> None:
    """Log once that a name has changed."""
    log.warning("%s is now %s: the old name still works", old, new)
