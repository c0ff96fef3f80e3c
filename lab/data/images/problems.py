"""Counts and reports what is wrong with a dataset: once, with names, one line for each kind of problem."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.checking import check_choice
from lab.data.images.annotations import BadSamplePolicy, tell_once
from lab.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

PROBLEMS = {
    "unreadable": "unreadable images",
    "bad_images": "entries of 'images' that cannot be used, left out",
    "strays": "annotations of images that 'images' lacks, or of none, left out",
    "bad_boxes": "boxes without an area inside of the image, left out",
    "bad_objects": "annotations that cannot be used, left out",
    "unknown": "objects of unknown categories, left out",
    "twice": "entries that stand in the file again, taken once",
    "mended": "areas that are no number, taken from the box",
    "wrong_size": "images of another size than their annotation states, annotations taken as they are",
    "unturned": "images annotated before their EXIF orientation was applied, taken unturned as the annotations are",
}
"""The problems by the column that holds them: reported under ``"skip"``, refused under ``"error"``."""
NOTES = {
    "beyond": "boxes that reach far beyond their image, clipped to it in training",
    "tiny": "boxes that are smaller than a pixel",
    "shared": "files that stand under several ids, each taken as an image of its own",
    "polygons": "polygons in place of boxes, taken as their bounding boxes",
    "keypoints": "keypoints after a box, left out",
    "outside": "coordinates a little outside of 0..1, taken as they are and clipped to the image in training",
    "empty": "empty label files, of images without objects",
    "unlabelled": "images without a label file, taken as images without objects",
}
"""What is suspicious but may be right; it is reported and not left out."""
HINTS = {
    "beyond": "; are they corners? COCO's bbox is x, y, width, height, Pascal VOC's bndbox two corners, "
    "YOLO's label the centre, width and height",
    "tiny": "; are they shares of the image, 0 to 1? Boxes are in pixels",
}
MANY = 0.2
"""The share of suspicious boxes from which a message adds a hint at the likely cause."""
NAMELESS = ("unknown", "twice", "bad_images", "strays", "shared", "empty", "unlabelled")
"""Columns whose entries name their image or annotation themselves; of COCO's, three are in a file's first row."""
MAX_NAMES = 5
_MARKED = ("wrong_size", "unturned")
_LISTED = (*(key for key in PROBLEMS if key not in ("unreadable", *_MARKED)), *NOTES)


def report_problems(table: Dataset, policy: BadSamplePolicy, source: str, folder: Path, train: bool) -> list[int]:
    """Report once what is wrong with a dataset, and return the indices of the rows that can be used.

    Args:
        table: rows as ``make_row`` makes them; rows of label maps have only ``file_name`` and ``unreadable``, rows of
            masks also ``bad_objects``: which annotation, and why.
        policy: ``"skip"`` logs one warning for each kind of problem; ``"error"`` raises at the first problem.
        source: the annotation file or split, for messages.
        folder: where the images are.
        train: whether the rows are trained on; in evaluation the message states how many images are measured.

    Raises:
        ConfigError: ``policy`` is neither ``"error"`` nor ``"skip"``.
        DataError: something is wrong under ``"error"``, or no image can be used.
    """
    check_choice("on_bad_sample", policy, ("error", "skip"))
    columns = _columns(table)
    names, found = columns["file_name"], _found(columns)
    unreadable = found["unreadable"]
    usable = [index for index, why in enumerate(columns["unreadable"]) if not why]
    if not usable:
        detail = f"; {_some(unreadable)}" if unreadable else ""
        raise DataError(f"{source}: none of its {len(names)} images can be read in {folder}{detail}")
    purpose = "trained on" if train else "evaluated: the metric covers these only"
    sayings = PROBLEMS | {"unreadable": f"unreadable images, {len(usable)} of {len(names)} are {purpose}"}
    if policy == "error":
        for key in sayings:
            if found.get(key):
                raise DataError(
                    f"{source}: {sayings[key].split(',')[0]}: {len(found[key])} ({_some(found[key])}) in {folder}; "
                    "mend them, or set data.on_bad_sample=skip to go on without them"
                )
    for key, what in {**sayings, **NOTES}.items():
        if found.get(key):
            tell_once(f"{source}: {what}: {len(found[key])} ({_some(found[key])}){_hint(table, key, len(found[key]))}")
    return usable


def find_problems(table: Dataset) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the names of all images, boxes and annotations that are wrong, by what it is, and of suspicious ones."""
    found = _found(_columns(table))
    wrong, odd = ({what: found[key] for key, what in known.items() if key in found} for known in (PROBLEMS, NOTES))
    return wrong, odd


def _columns(table: Dataset) -> Mapping[str, Any]:
    wanted = [name for name in ("file_name", "unreadable", *_MARKED, *_LISTED) if name in table.column_names]
    columns: Mapping[str, Any] = table.select_columns(wanted)[:]
    return columns


def _found(columns: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what stands in the columns of problems, by column."""
    names = columns["file_name"]
    found = {key: _named(names, columns[key], key) for key in _LISTED if key in columns}
    found["unreadable"] = [f"{name} ({why})" for name, why in zip(names, columns["unreadable"], strict=True) if why]
    for key in _MARKED:
        if key in columns:
            found[key] = [name for name, marked in zip(names, columns[key], strict=True) if marked]
    return found


def _named(names: list[str], column: list[list[str]], key: str) -> list[str]:
    """Return the entries of a column of lists, with the image's name where an entry alone is ambiguous."""
    if key in NAMELESS:
        return [entry for entries in column for entry in entries]
    return [f"{name} {entry}" for name, entries in zip(names, column, strict=True) for entry in entries]


def _hint(table: Dataset, key: str, count: int) -> str:
    """Return a hint at the likely cause if many boxes are suspicious."""
    if key not in HINTS:
        return ""
    boxes = sum(map(len, table.select_columns(["labels"])[:]["labels"]))
    return f", of {boxes} boxes" + (HINTS[key] if count >= MANY * boxes else "")


def _some(names: list[str]) -> str:
    counts = {name: names.count(name) for name in names[:200]}
    shown = [f"{name} x{count}" if count > 1 else name for name, count in list(counts.items())[:MAX_NAMES]]
    more = len(set(names)) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
