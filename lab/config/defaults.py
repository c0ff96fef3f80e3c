"""The one reader of Hydra's defaults lists: the content of a group's option, and the options that it builds on.

Nothing is composed. An item of a list is one of these (Hydra 1.3, "The Defaults List"). Items under another package,
and items chosen by an interpolation, are not content of the option and are left out:

    - base                     # an option of the same group
    - /group/option            # by its path from the root; its content goes to group below this one's
    - group: option            # of a group below this one; /group: from the root; [a, b] for several
    - override /group: option  # another choice for a group that config.yaml lists
    - optional group: option   # may be missing
    - group@package: option    # its content goes elsewhere
    - _self_                   # the position of this file's own content; last by default
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.config.group_files import config_dir, find_file, options, read

SELF = "_self_"
_DEEPEST = 20


@dataclass(frozen=True)
class Default:
    """An item of a defaults list.

    Attributes:
        group: from the root, ``model`` or ``model/parts``.
        option: the chosen option; ``_self_`` for the position of the file's own content.
        override: whether it changes the choice of another file.
        optional: whether it may be missing.
        package: where its content goes, the part after ``@``; ``""`` for the package of this file.
    """

    group: str
    option: str
    override: bool = False
    optional: bool = False
    package: str = ""


def read_defaults(path: Path, group: str) -> list[Default]:
    """Return the items of a file's defaults list in their order; entries of another form are left out.

    Args:
        path: a file of the groups.
        group: the group that it is an option of.

    Raises:
        ConfigError: it is no YAML, or no mapping.
    """
    items = read(path).get("defaults")
    return [default for item in items for default in _of_item(item, group)] if isinstance(items, list) else []


def _of_item(item: Any, group: str) -> Iterator[Default]:
    if item == SELF:
        yield Default(group, SELF)
    elif isinstance(item, str):
        name, _, package = item.partition("@")
        where, _, option = _from_root(name, group).rpartition("/")
        yield Default(where, option, package=package or (where if name.startswith("/") else ""))
    elif isinstance(item, Mapping):
        named = {key: value for key, value in item.items() if isinstance(key, str)}
        for key, chosen in named.items():
            *words, name = key.split()
            name, _, package = name.partition("@")
            for option in chosen if isinstance(chosen, list) else [chosen]:
                if isinstance(option, str):  # null chooses no option
                    where = _from_root(name, group)
                    yield Default(where, option, "override" in words, "optional" in words, package)


def _from_root(name: str, group: str) -> str:
    return name[1:] if name.startswith("/") else f"{group}/{name}" if group else name


def own_content(path: Path) -> dict[str, Any]:
    """Return the own content of a file: everything but its defaults list.

    Raises:
        ConfigError: it is no YAML, or no mapping.
    """
    return {key: value for key, value in read(path).items() if key != "defaults"}


def option_files(group: str, option: str, folders: Sequence[Path]) -> list[Path]:
    """Return the files whose content makes up an option, the strongest first: its own, then those it builds on.

    Args:
        group: ``model`` for instance.
        option: the option; if it does not exist, there are no files.
        folders: the folders of the groups; the first one that has a file wins.

    Raises:
        ConfigError: one of them is no YAML, or no mapping.
    """
    return list(_strongest_first(group, option, folders, ()))


def _strongest_first(group: str, option: str, folders: Sequence[Path], above: tuple[Path, ...]) -> Iterator[Path]:
    path = find_file(f"{group}/{option}", folders)
    if path is None or path in above or len(above) > _DEEPEST:
        return
    bases = [each for each in read_defaults(path, group) if each.group == group and not each.override]
    bases = [each for each in bases if each.package in ("", "_here_")]
    if all(each.option != SELF for each in bases):
        bases.append(Default(group, SELF))
    for base in reversed(bases):
        if base.option == SELF:
            yield path
        else:
            yield from _strongest_first(group, base.option, folders, (*above, path))


def option_content(group: str, option: str, folders: Sequence[Path]) -> dict[str, Any]:
    """Return an option's content, merged with that of the options it builds on; interpolations are not resolved.

    Raises:
        ConfigError: one of the files is no YAML, or no mapping.
    """
    content: dict[str, Any] = {}
    for path in reversed(option_files(group, option, folders)):
        content = _merged(content, own_content(path))
    return content


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        beneath = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(beneath, Mapping)
        merged[key] = _merged(beneath, value) if both else value  # type: ignore[arg-type]
    return merged


def group_options(group: str) -> dict[str, dict[str, Any]]:
    """Return the content of each shipped option of a group, ``strategy`` for instance."""
    folders = [config_dir()]
    return {name: option_content(group, name, folders) for name in options(group, folders)}
