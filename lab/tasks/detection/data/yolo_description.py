"""Reads what describes a dataset of the YOLO family: ``data.yaml``, darknet's ``obj.data``, or a list of names alone.

Scalars of YAML stay the text that stands in the file: a class may be called ``no``, ``1`` or ``null``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.data.fields import short, whole_of
from lab.data.folders import is_hidden
from lab.data.holdout import TEST, TRAIN, VAL
from lab.data.images.class_names import clean_name
from lab.data.text_files import read_text
from lab.errors import DataError

YOLO_HOW_TO_GET = (
    "put images, label files and a data.yaml (path, train, val, names) there, or name the places by data.root, "
    "data.file and data.labels"
)
KEYS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
NAMES_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "predefined_classes.txt")
"""Lists of names, which some tools write in place of a data.yaml."""
MAX_BYTES = 16 * 1024 * 1024
"""The largest description."""
SUFFIXES = (".yaml", ".yml", ".data")
MAX_NAME = 255
"""The longest name of a file."""
_SETTING = re.compile(r"^[ \t]*([^#=\n\s][^=\n]*)=(.*)$", re.MULTILINE)
_NOTHING = ("", "~", "null", "none")


@dataclass(frozen=True)
class Description:
    """What a file says about a dataset.

    Attributes:
        file: the file; None if there is none.
        names: of the classes, in label order; None if it has none.
        path: the folder that the places of the splits are relative to, as it stands in the file; ``""`` for none.
        splits: the places of each split, as they stand in the file; none: the folders' names say it.
        keypoints: numbers of the keypoints that follow each box.
    """

    file: Path | None
    names: tuple[str, ...] | None
    path: str = ""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keypoints: int = 0


def read_description(root: Path, given: str | None) -> Description:
    """Return the description of a dataset.

    Args:
        root: the dataset's folder.
        given: the file, relative to ``root``; None looks for a YAML or ``.data`` file in ``root`` that has ``train`` or
            ``names``, then for one of ``NAMES_FILES``.

    Raises:
        DataError: the file is missing or does not describe a dataset, or several files do.
    """
    if given is not None:
        file = root / given
        if not file.is_file():
            raise DataError(f"no file {file}: looked in data.root={root} (data.file={given}); {YOLO_HOW_TO_GET}")
        return _read(file, root)
    found, broken = _contents(root)
    fitting = [path for path, content in found.items() if {"train", "names"} & content.keys()]
    usual = [path for path in fitting if _is_usual(path)]
    chosen = fitting if len(fitting) == 1 else usual
    if len(chosen) == 1:
        return _read(chosen[0], root)
    if fitting:
        raise DataError(f"{root} has {', '.join(path.name for path in fitting)}: name one by data.file")
    if broken:
        raise DataError(next(iter(broken.values())))
    for name in NAMES_FILES:
        if (root / name).is_file():
            return Description(root / name, _listed_names(root / name))
    return Description(None, None)


def _read(file: Path, root: Path) -> Description:
    """Return the description that a file holds."""
    if file.suffix.lower() in (".txt", ".names"):
        return Description(file, _listed_names(file))
    content = _parse(file)
    if not isinstance(content, dict):
        raise DataError(f"{file} is no mapping with path, train, val and names")
    splits: dict[str, tuple[str, ...]] = {}
    for key, split in KEYS.items():
        places = _places(content.get(key), file, key)
        if places and split in splits:
            raise DataError(f"{file} names the split {split} twice, as {key} too: leave one out")
        if places:
            splits[split] = places
    path = content.get("path") or ""
    if not isinstance(path, str):
        raise DataError(f"{file}: path={short(path)} is not the name of a folder")
    names = _names(content.get("names"), file, root)
    _check_count(content.get("nc", content.get("classes")), names, file)
    return Description(file, names, "" if path.lower() in _NOTHING else path, splits, _keypoints(content, file))


def _is_usual(path: Path) -> bool:
    return path.stem.lower() in ("data", "dataset", "obj")


def _contents(root: Path) -> tuple[dict[Path, dict[str, Any]], dict[Path, str]]:
    """Return the mappings in the files of a folder that may describe a dataset, and why others cannot be used.

    Raises:
        DataError: one whose name says that it describes the dataset cannot be used.
    """
    found: dict[Path, dict[str, Any]] = {}
    broken: dict[Path, str] = {}
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in SUFFIXES or is_hidden(path.name) or not path.is_file():
            continue
        try:
            content = _parse(path)
        except DataError as error:
            if _is_usual(path):
                raise
            broken[path] = str(error)
            continue
        if isinstance(content, dict):
            found[path] = content
        elif _is_usual(path):
            raise DataError(f"{path} is no mapping with path, train, val and names")
    return found, broken


def _parse(file: Path) -> Any:
    """Return the content of a YAML or of darknet's ``key = value``; all scalars are text."""
    if file.stat().st_size > MAX_BYTES:
        raise DataError(f"{file} has more than {MAX_BYTES // 1024**2} MiB: it is no description of a dataset")
    text = read_text(file)
    if file.suffix.lower() == ".data":
        return {key.strip(): value.strip() for key, value in _SETTING.findall(text)}
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # makes only text, lists and mappings
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise DataError(f"{file} is not YAML{where}: {getattr(error, 'problem', None) or 'nested too deep'}") from error


def _places(value: Any, file: Path, key: str) -> tuple[str, ...]:
    """Return the folders and lists of a split, as they stand in the file."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return ()
    places = [value] if isinstance(value, str) else value
    if not isinstance(places, list) or not all(isinstance(place, str) and place.strip() for place in places):
        raise DataError(f"{file}: {key}={short(value)} is no folder or list of images, nor several of them")
    return tuple(place.strip() for place in places)


def _names(value: Any, file: Path, root: Path) -> tuple[str, ...] | None:
    """Return the names of the classes: a list, a mapping of number and name, or a file with one on each line."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return None
    if isinstance(value, str):
        for folder in (file.parent, root):
            for name in (value, Path(value).name):
                if len(name) <= MAX_NAME and (folder / name).is_file():
                    return _listed_names(folder / name)
        raise DataError(f"{file}: names={short(value)} is no list, no mapping and no file that is there")
    if isinstance(value, dict):
        value = _in_order(value, file)
    if not value or not all(isinstance(name, str) and name.strip() for name in value):
        raise DataError(f"{file}: names has a class without a name; give every class one")
    return tuple(clean_name(name) for name in value)


def _in_order(names: Mapping[str, Any], file: Path) -> list[Any]:
    """Return the values of a mapping from 0 to K-1."""
    numbered: dict[int, Any] = {}
    for key, name in names.items():
        try:
            number = whole_of(key)
        except ValueError:
            raise DataError(f"{file}: names has {short(key)}, which is no number of a class") from None
        if number in numbered:
            raise DataError(f"{file}: names has the class {number} twice")
        numbered[number] = name
    lacking = sorted(set(range(len(numbered))) - numbered.keys())
    if lacking:
        raise DataError(
            f"{file}: names has {len(numbered)} classes and none with the number {lacking[0]}; count from 0"
        )
    return [numbered[number] for number in range(len(numbered))]


def _listed_names(file: Path) -> tuple[str, ...]:
    names = tuple(clean_name(line) for line in read_text(file).rstrip().split("\n"))
    if not all(names):
        raise DataError(f"{file} has an empty line in place of a class's name")
    return names


def _check_count(count: Any, names: tuple[str, ...] | None, file: Path) -> None:
    """Refuse a number of classes that is not that of the names."""
    if count is None or names is None:
        return
    try:
        number = whole_of(count)
    except ValueError:
        raise DataError(f"{file}: nc={short(count)} is no number of classes") from None
    if number != len(names):
        raise DataError(f"{file}: nc={number}, but names has {len(names)} classes; mend one of them")


def _keypoints(content: Mapping[str, Any], file: Path) -> int:
    """Return how many numbers of keypoints follow each box: the product of ``kpt_shape``."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    try:
        sides = [whole_of(side) for side in shape]
    except (ValueError, TypeError):
        sides = []
    if len(sides) != 2 or sides[0] < 1 or sides[1] not in (2, 3):
        raise DataError(f"{file}: kpt_shape={short(shape)} is not [points, 2] or [points, 3]")
    return math.prod(sides)
