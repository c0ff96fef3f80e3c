"""Reads json files of COCO's layout with type checks: categories, images, annotations of each image, and problems.

Format: https://cocodataset.org/#format-data. Values with only one meaning are accepted (see ``lab.data.fields``). An
image or annotation with a mistake is left out and reported. A file with a mistake in its classes, or in the file as a
whole, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlsplit

from lab.data.fields import check_each, identity_of, short
from lab.data.images.coco_entries import WANTED, CategoryEntry, ImageEntry, ObjectEntry, adapter_of
from lab.data.json_files import load_lists
from lab.errors import DataError

MAX_NAME, MAX_PATH = 255, 2000  # bytes of a file's name on every usual file system, and of one with its folders
T = TypeVar("T", bound="ObjectEntry")


@dataclass
class ImageItems(Generic[T]):
    """An image of a json file and its annotations.

    Attributes:
        number: the image's id if all ids of the file are 64-bit numbers, otherwise its position in the file.
        entry: the entry in the file.
        name: the image's file, relative to the folder of images.
        items: its annotations, in the order of the file.
        bad: annotations that cannot be used, and why.
        twice: annotations that were exact duplicates and were used once.
    """

    number: int
    entry: ImageEntry
    name: str
    items: list[T] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


@dataclass
class CocoFile(Generic[T]):
    """The content of a json file.

    Attributes:
        categories: each category once, ordered by id.
        images: the images with their annotations, in the order of the file.
        bad_images: entries of ``images`` that cannot be used, and why.
        strays: annotations that name no image, or an image that is not in the file.
        twice: entries that were exact duplicates and were used once.
    """

    categories: list[CategoryEntry]
    images: list[ImageItems[T]]
    bad_images: list[str]
    strays: list[str]
    twice: list[str]

    @property
    def shared(self) -> list[str]:
        """Image files that are listed under several ids."""
        ids: dict[str, list[str]] = {}
        for image in self.images:
            ids.setdefault(image.name, []).append(short(image.entry.id))
        return [f"{name} ({', '.join(of)})" for name, of in ids.items() if len(of) > 1]

    def problems(self) -> dict[str, list[str]]:
        """Return the problems of the file itself, as columns for its first row."""
        return {"bad_images": self.bad_images, "strays": self.strays, "twice": self.twice, "shared": self.shared}


def read_file(path: Path, folder: Path, kind: type[T], file: str = "instances", panoptic: bool = False) -> CocoFile[T]:
    """Return the categories and images of a json file, each image with its annotations.

    Args:
        path: the json file.
        folder: where the images are; searched only for images without a ``file_name``.
        kind: the type of the annotations.
        file: see ``load_lists``.
        panoptic: see ``load_lists``.

    Raises:
        DataError: the file as a whole cannot be used.
    """
    content = load_lists(path, file, panoptic)
    categories, twice = check_categories(content["categories"], path)
    images, bad, again = _read_images(content["images"], folder)
    if not images:
        said = f"; {', '.join(bad[:3])}" if bad else ""
        raise DataError(f"{path}: none of the {len(content['images'])} entries of 'images' can be used{said}")
    strays = _assign(content["annotations"], images, kind)
    return CocoFile(categories, list(images.values()), bad, strays, twice + again)


def check_categories(items: Sequence[Any], path: Path) -> tuple[list[CategoryEntry], list[str]]:
    """Return the categories ordered by id, and the duplicates, which are used once.

    Raises:
        DataError: a category has no usable id or name, or two categories with the same id differ.
    """
    found: dict[int, CategoryEntry] = {}
    twice = []
    wanted = WANTED | {"id": "a whole number"}
    for place, (item, checked, problem) in enumerate(check_each(adapter_of(CategoryEntry), items, wanted), 1):
        name = "" if checked is None else str(checked.name).strip()
        if checked is None or not name:
            raise DataError(f"{path}: category {place} of {len(items)}: {problem or 'no name'}; mend it: {short(item)}")
        if not -(2**63) <= checked.id < 2**63:
            raise DataError(f"{path}: category {name!r} has the id {short(checked.id)}, more than 64 bits; mend it")
        checked.name = name
        known = found.setdefault(checked.id, checked)
        if known != checked:
            raise DataError(
                f"{path}: category id {checked.id} stands for {known.name!r} and for {name!r}"
                + (" with another 'isthing'" if known.name == name else "")
                + "; give every class an id of its own"
            )
        if known is not checked:
            twice.append(f"category {checked.id} {name!r}")
    return [found[number] for number in sorted(found)], twice


def join_problems(row: Mapping[str, Any], *more: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return a row with the entries of other columns added to its own."""
    joined = dict(row)
    for part in more:
        for column, entries in part.items():
            joined[column] = [*joined[column], *entries]
    return joined


def _read_images(items: Sequence[Any], folder: Path) -> tuple[dict[int | str, ImageItems[Any]], list[str], list[str]]:
    """Return the images by id, the entries that cannot be used, and the duplicates."""
    found: dict[int | str, ImageItems[Any]] = {}
    bad, twice, torn = [], [], set()
    for place, (_, entry, problem) in enumerate(check_each(adapter_of(ImageEntry), items, WANTED), 1):
        name, why = ("", problem) if entry is None else _image_name(entry, folder)
        if entry is None or why:
            bad.append(f"entry {place} ({why})" if entry is None else f"image {short(entry.id)} ({why})")
            continue
        known = found.setdefault(entry.id, ImageItems(0, entry, name))
        if known.entry is entry:
            continue
        if known.name == name:
            twice.append(f"image {short(entry.id)} {name}")
        else:
            bad.append(f"image {short(entry.id)} (one id for {known.name} and {name})")
            torn.add(entry.id)
    kept = {number: image for number, image in found.items() if number not in torn}
    small = all(isinstance(number, int) and -(2**63) <= number < 2**63 for number in kept)
    for place, (number, image) in enumerate(kept.items()):
        image.number = int(number) if small else place
    return kept, bad, twice


def _image_name(entry: ImageEntry, folder: Path) -> tuple[str, str]:
    """Return the image's file, relative to the folder of images, and what is wrong with its name or ``""``."""
    name = entry.file_name
    if name is None and isinstance(entry.coco_url, str):  # LVIS, whose images are in two of COCO's folders
        parts = PurePosixPath(unquote(urlsplit(entry.coco_url).path)).parts[-2:]
        both = "/".join(parts).lstrip("/")
        name = both if len(parts) == 2 and (folder / both).is_file() else (parts or ("",))[-1]
    if name is None:
        return "", "no file_name"
    return (name, "") if is_name(name) else ("", f"file_name={short(name)} can be no file's name")


def is_name(name: Any) -> bool:
    """Whether a value can be the name of a file, with or without folders."""
    return (
        isinstance(name, str)
        and bool(name.strip())
        and "\0" not in name
        and all(len(part.encode("utf-8", "surrogatepass")) <= MAX_NAME for part in name.split("/"))
        and len(name.encode("utf-8", "surrogatepass")) <= MAX_PATH
    )


def _assign(items: Sequence[Any], images: Mapping[int | str, ImageItems[T]], kind: type[T]) -> list[str]:
    """Assign each annotation to its image; return those that belong to no image."""
    strays = []
    for place, (item, checked, problem) in enumerate(check_each(adapter_of(kind), items, WANTED), 1):
        name = _name_of(item, place)
        if checked is None:
            image = images.get(_image_of(item))
            if image is None:
                strays.append(f"{name} ({problem})")
            else:
                image.bad.append(f"{name} ({problem})")
            continue
        image = images.get(checked.image_id)
        if image is None:
            strays.append(f"{name} belongs to image {short(checked.image_id)}")
            continue
        checked.id = name.removeprefix("annotation ")
        image.items.append(checked)
    for image in images.values():
        _take_once(image)
    return strays


def _take_once(image: ImageItems[Any]) -> None:
    """Leave out annotations that exactly repeat an earlier one of the image, including the id."""
    if len({item.id for item in image.items}) == len(image.items):
        return
    found: dict[str, Any] = {}
    for item in image.items:
        if found.setdefault(repr(item), item) is not item:
            image.twice.append(f"annotation {item.id} of {image.name}")
    image.items = list(found.values())


def _name_of(item: Any, place: int) -> str:
    number = item.get("id") if isinstance(item, dict) else None
    if number is None:
        return f"annotation no. {place}"
    return f"annotation {number}" if type(number) is int else f"annotation {short(number)}"


def _image_of(item: Any) -> int | str:
    try:
        return identity_of(item.get("image_id")) if isinstance(item, dict) else ""
    except ValueError:
        return ""
