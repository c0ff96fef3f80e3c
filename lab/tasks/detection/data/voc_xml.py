"""Reads one XML file of Pascal VOC with type checks: the stated size, the objects, and objects that cannot be used.

Nothing is fetched or expanded: a file that declares entities is refused. Namespaces, upper and lower case of tags, and
the place of an ``object`` in the file make no difference.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lab.data.fields import flag_of, number_of, short
from lab.data.images.annotations import RawObject
from lab.data.images.class_names import clean_name
from lab.data.text_files import decode_text
from lab.errors import DataError

MAX_BYTES = 64 * 1024 * 1024
"""The largest file: its parsed tree takes some twenty times as much memory."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ENTITY = re.compile(r"<!ENTITY\b")
_NOT_GIVEN = ("", "unspecified")


@dataclass
class VocFile:
    """The content of an XML file.

    Attributes:
        unreadable: why the file cannot be used at all, or ``""``.
        stated_size: (height, width); None if the file states none; 0 for a side that is not a number.
        objects: the objects, with labels.
        bad: objects that cannot be used, and why.
    """

    unreadable: str = ""
    stated_size: tuple[int, int] | None = None
    objects: list[RawObject] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def read_voc(path: Path, labels: Mapping[str, int]) -> VocFile:
    """Read a file; ``labels`` gives the label of each class name, in the spelling of ``clean_name``."""
    root, problem = parse(path)
    if root is None:
        return VocFile(problem)
    found = VocFile(stated_size=_stated_size(root))
    for place, item in enumerate(root.iter("object"), 1):
        try:
            found.objects.append(_raw_object(item, labels, f"object {place}"))
        except ValueError as error:
            found.bad.append(f"object {place} ({error})")
    return found


def parse(path: Path) -> tuple[ElementTree.Element | None, str]:
    """Return the root of an XML file, without namespaces and with tags in lower case; or None and the reason."""
    name = f"{path.parent.name}/{path.name}"
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return None, f"{name} is no regular file"
        if state.st_size > MAX_BYTES:
            return None, f"{name} has more than {MAX_BYTES // 1024**2} MiB"
        text = decode_text(path.read_bytes(), name)
        if _ENTITY.search(text):
            return None, f"{name} declares entities: such XML is not read"
        root = ElementTree.fromstring(text)
    except DataError as error:
        return None, str(error)
    except (OSError, ElementTree.ParseError, ValueError):
        return None, f"{name} is missing or not XML"
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    if root.tag != "annotation" and root.find(".//object") is None:
        return None, f"{name} holds <{root.tag}>, where Pascal VOC has <annotation>"
    return root, ""


def object_names(root: ElementTree.Element) -> set[str]:
    """Return the names of all objects of a file that have one."""
    names = {clean_name(item.findtext("name") or "") for item in root.iter("object")}
    return names - {""}


def _raw_object(item: ElementTree.Element, labels: Mapping[str, int], which: str) -> RawObject:
    """Return an object.

    Raises:
        ValueError: the object cannot be used; the message says why.
    """
    name = clean_name(_text(item, "name"))
    if not name:
        raise ValueError("no name")
    boxes = item.findall("bndbox")
    if len(boxes) != 1:
        raise ValueError(f"{len(boxes)} bndbox" if boxes else "no bndbox")
    xmin, ymin, xmax, ymax = (_number(boxes[0], corner) for corner in CORNERS)
    slip = xmax <= xmin or ymax <= ymin  # becomes a box without area, not a box of one pixel
    box = (xmin, ymin, xmax, ymax) if slip else (xmin - 1, ymin - 1, xmax, ymax)
    return RawObject(box, name, labels.get(name), None, iscrowd=_difficult(item), name=f"{which} {name}")


def _difficult(item: ElementTree.Element) -> bool:
    text = _text(item, "difficult")
    if text.lower() in _NOT_GIVEN:
        return False
    try:
        return flag_of(number_of(text))
    except ValueError:
        pass
    try:
        return flag_of(text)
    except ValueError:
        raise ValueError(f"difficult={short(text)} is not 0 or 1") from None


def _number(element: ElementTree.Element, tag: str) -> float:
    text = _text(element, tag)
    if not text:
        raise ValueError(f"no {tag}")
    try:
        value = number_of(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{tag}={short(text)} is not a number")
    return value


def _text(element: ElementTree.Element, tag: str) -> str:
    """Return the text of a child element; it may occur twice with the same text.

    Raises:
        ValueError: two children have different texts.
    """
    found = {(child.text or "").strip(): None for child in element.findall(tag)}
    if len(found) > 1:
        raise ValueError(f"{tag} is {' and '.join(map(short, found))}")
    return next(iter(found), "")


def _stated_size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Return (height, width); a side of 0 means that the annotation tool did not know it."""
    size = root.find("size")
    if size is None:
        return None
    sides: list[int] = []
    for tag in ("height", "width"):
        try:
            text = _text(size, tag)
            value: Any = number_of(text) if text else 0
        except ValueError:
            value = -1
        sides.append(int(value) if 0 <= value < 2**31 else -1)
    return None if 0 in sides else (sides[0], sides[1])
