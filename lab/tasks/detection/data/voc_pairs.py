"""Finds the image of each XML file in a Pascal VOC dataset: by the image's name, by a list, or by nearness.

An XML belongs to the image of the same name. If several images have it, it belongs to the one that its ``<filename>``
names or that is nearest in the tree of folders.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

from lab.data.folders import name_problem
from lab.data.lists import read_names
from lab.data.text_files import read_text
from lab.errors import DataError


class Pair(NamedTuple):
    """An image and its XML.

    Attributes:
        image: relative to the folder of images.
        xml: relative to the folder of XML files.
        problem: why the two cannot be used, or ``""``.
    """

    image: str
    xml: str
    problem: str = ""


def pair_files(xmls: Sequence[str], pictures: Sequence[str], images: Path, annotations: Path) -> list[Pair]:
    """Return a pair for each XML file, with a problem if its image is missing or ambiguous."""
    index = _Pictures(pictures)
    pairs = [index.pair(xml, images, annotations) for xml in xmls]
    counts = Counter(pair.image for pair in pairs)
    return [
        pair._replace(problem="several XML files belong to it") if counts[pair.image] > 1 and not pair.problem else pair
        for pair in pairs
    ]


def listed(file: Path, xmls: Sequence[str], pictures: Sequence[str], images: Path, annotations: Path) -> list[Pair]:
    """Return the pairs that a list names, by the image or the XML, with or without suffix and folder.

    A listed file that does not exist gets a name too; the reader reports it as missing.
    """
    index, by_path, by_stem = _Pictures(pictures), {path_stem(name): name for name in xmls}, _by_stem(xmls)
    known = {*by_path, *by_stem, *pictures, *map(path_stem, pictures), *index.by_name, *index.by_stem}
    pairs, seen = [], set()
    for name in read_names(file, known):
        exact = [name] if name in index.by_path else index.by_name.get(name, [])
        stem = path_stem(exact[0] if len(exact) == 1 else name) if exact else name
        if problem := name_problem(name) or ("it is listed twice" if stem in seen else ""):
            pairs.append(Pair(exact[0] if exact else f"{stem}.jpg", f"{stem}.xml", problem))
            continue
        seen.add(stem)
        xml = by_path.get(stem) or next(iter(by_stem.get(PurePosixPath(stem).name, ())), f"{stem}.xml")
        pairs.append(Pair(exact[0], xml) if len(exact) == 1 else index.pair(xml, images, annotations, stem))
    return pairs


class _Pictures:
    """The images of a dataset, indexed by path, by name, and by name without suffix."""

    def __init__(self, names: Sequence[str]) -> None:
        self.by_path, self.by_stem = frozenset(names), _by_stem(names)
        self.by_place, self.by_name = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for name in names:
            self.by_place[path_stem(name)].append(name)
            self.by_name[PurePosixPath(name).name].append(name)

    def pair(self, xml: str, images: Path, annotations: Path, stem: str | None = None) -> Pair:
        """Return an XML with the image that belongs to it.

        Args:
            xml: relative to ``annotations``.
            images: the folder of images.
            annotations: the folder of XML files.
            stem: the image's path without suffix, if a list names it; None if only the XML's name is known.
        """
        name = PurePosixPath(xml).stem if stem is None else PurePosixPath(stem).name
        found = (self.by_place.get(stem) if stem is not None else None) or self.by_stem.get(name) or []
        if len(found) == 1:
            return Pair(found[0], xml)
        stated = stated_name(annotations / xml)
        found = found or self.by_name.get(name) or self.by_name.get(stated) or []
        if not found:
            return Pair(f"{stem or name}.jpg", xml, "" if stem else "no image has its name or the <filename> in it")
        found = [path for path in found if PurePosixPath(path).name == stated] or found
        nearness = {path: _nearness((images / path).parent, (annotations / xml).parent) for path in found}
        best = [path for path in found if nearness[path] == max(nearness.values())]
        problem = f"two images of one name: {', '.join(best[:3])}" if len(best) > 1 else ""
        return Pair(best[0], xml, problem)


def _nearness(one: Path, other: Path) -> tuple[int, bool]:
    """Return how near two folders are: the number of shared names in their paths, and whether they are the same."""
    return len(set(one.parts) & set(other.parts)), one == other


def classes_of(xml: Path) -> Collection[str]:
    """Return the names of the objects in an XML file; none if it cannot be read, which its row reports."""
    try:
        root = ElementTree.fromstring(read_text(xml))
    except (DataError, ElementTree.ParseError, ValueError):
        return ()
    found = (item for item in root.iter() if str(item.tag).rpartition("}")[2] == "object")
    return {
        (child.text or "").strip() for item in found for child in item if str(child.tag).rpartition("}")[2] == "name"
    }


def stated_name(xml: Path) -> str:
    """Return the last part of the ``<filename>`` in an XML file, ``""`` without a valid one."""
    try:
        root = ElementTree.fromstring(read_text(xml))
    except (DataError, ElementTree.ParseError, ValueError):
        return ""
    for item in root:
        if str(item.tag).rpartition("}")[2] == "filename":
            return PurePosixPath((item.text or "").strip().replace("\\", "/")).name
    return ""


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[PurePosixPath(name).stem].append(name)
    return found


def path_stem(name: str) -> str:
    """Return a path without its suffix."""
    return PurePosixPath(name).with_suffix("").as_posix()
