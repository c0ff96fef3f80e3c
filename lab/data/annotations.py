"""Rows of annotations: what the readers of COCO and Pascal VOC make of each image, checked and told about.

A reader yields one row for each image; Hugging Face ``datasets`` writes them to an Arrow table in its cache, keyed by
the content of the annotation files, so that json and XML are parsed and image headers opened once. Whatever is wrong
with an image stands in its row and is reported by ``report_problems``: nothing is left out in silence.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lab.data.caches import cache_folder, cannot_write, is_of_writing
from lab.errors import ConfigError, DataError, LabError

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

ROWS_VERSION = 1  # part of the cache key: raise it when the content of rows changes
ROW_COLUMNS = {
    "image_id": "int64",
    "file_name": "string",
    "height": "int32",
    "width": "int32",
    "boxes": "[[float32]]",
    "labels": "[int64]",
    "area": "[float32]",
    "iscrowd": "[bool]",
    "unreadable": "string",
    "bad_boxes": "[string]",
    "unknown": "[string]",
    "wrong_size": "bool",
}
MAX_NAMES = 5

BadSamplePolicy = Literal["error", "skip"]

_reported: set[str] = set()


class RawObject(NamedTuple):
    """One annotated object as the file states it.

    Attributes:
        box: xyxy in pixel edges.
        category: the category's name or id, for messages.
        label: 0..K-1, or None where the category is unknown.
        area: in square pixels.
        iscrowd: a group or a difficult object: ignored by training, neither hit nor miss in evaluation.
    """

    box: tuple[float, float, float, float]
    category: str
    label: int | None
    area: float
    iscrowd: bool


def make_row(
    folder: Path, name: str, image_id: int, stated_size: tuple[int, int] | None, objects: Iterable[RawObject]
) -> dict[str, Any]:
    """Check one image and its objects and put them into a row.

    The image's header is opened, its pixels are not decoded. Boxes that are not finite, have no area, or lie outside
    of the image, and objects of unknown categories, are left out and counted.

    Args:
        folder: where the images are.
        name: the image's file name, relative to ``folder``.
        image_id: the dataset's own id.
        stated_size: (height, width) that the annotation states; None where it states none.
        objects: what the annotation holds.
    """
    (height, width), unreadable = read_header(folder / name)
    row: dict[str, Any] = {"image_id": image_id, "file_name": name, "height": height, "width": width}
    row |= {"boxes": [], "labels": [], "area": [], "iscrowd": []}
    row |= {"unreadable": unreadable, "bad_boxes": [], "unknown": []}
    row["wrong_size"] = not unreadable and stated_size is not None and stated_size != (height, width)
    for item in objects:
        if item.label is None:
            row["unknown"].append(item.category)
        elif not unreadable and not _has_area(item.box, height, width):
            row["bad_boxes"].append(f"{[round(value, 2) for value in item.box]}")
        else:
            row["boxes"].append(list(item.box))
            row["labels"].append(item.label)
            row["area"].append(item.area)
            row["iscrowd"].append(item.iscrowd)
    return row


def build_table(
    read: Callable[..., Iterator[dict[str, Any]]],
    arguments: Mapping[str, Any],
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Return the Arrow table of the rows that ``read(**arguments)`` yields, from the cache where it is there.

    Args:
        read: a generator function of a module.
        arguments: the cache's key: they must hold the fingerprint of everything that is read.
        columns: name and type of each column; None stands for those of ``make_row``.

    Raises:
        LabError: whatever ``read`` raised.
    """
    import datasets

    types = columns or ROW_COLUMNS
    features = datasets.Features({name: _feature(kind) for name, kind in types.items()})
    show = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # the trainer's own bar is the only one
    folder = cache_folder()
    try:
        return datasets.Dataset.from_generator(read, features=features, gen_kwargs=dict(arguments))
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, LabError):
            raise error.__cause__ from None
        if is_of_writing(error.__cause__):
            raise DataError(cannot_write(folder, error.__cause__)) from error
        raise
    except OSError as error:  # the folder is taken away meanwhile
        raise DataError(cannot_write(folder, error)) from error
    finally:
        if show:
            datasets.enable_progress_bars()


def report_problems(table: Dataset, policy: BadSamplePolicy, source: str, folder: Path, train: bool) -> list[int]:
    """Say once what is wrong with a dataset and return the indices of the rows that can be used.

    Args:
        table: rows as ``make_row`` makes them; rows of label maps have ``file_name`` and ``unreadable`` only,
            rows of masks ``bad_objects`` beside them: which annotation, and why.
        policy: ``"skip"`` logs one warning for each kind of problem; ``"error"`` raises at the first.
        source: the annotation file or split, for messages.
        folder: where the images are.
        train: whether the rows are trained on; in evaluation the message states how many images are measured.

    Raises:
        ConfigError: ``policy`` is neither ``"error"`` nor ``"skip"``.
        DataError: something is wrong under ``"error"``, or no image can be used.
    """
    if policy not in ("error", "skip"):
        raise ConfigError(f"on_bad_sample={policy!r} is unknown: give 'error' or 'skip'")
    wanted = ("file_name", "unreadable", "bad_boxes", "bad_objects", "unknown", "wrong_size")
    columns = table.select_columns([name for name in wanted if name in table.column_names])[:]
    names = columns["file_name"]
    columns = {
        "bad_boxes": [[]] * len(names),
        "bad_objects": [[]] * len(names),
        "unknown": [[]] * len(names),
        "wrong_size": [False] * len(names),
    } | columns
    unreadable = [f"{name} ({why})" for name, why in zip(names, columns["unreadable"], strict=True) if why]
    usable = [index for index, why in enumerate(columns["unreadable"]) if not why]
    purpose = "trained on" if train else "evaluated: the metric covers these only"
    boxes = [f"{name} {box}" for name, found in zip(names, columns["bad_boxes"], strict=True) for box in found]
    objects = [f"{name} {what}" for name, found in zip(names, columns["bad_objects"], strict=True) for what in found]
    unknown = [category for found in columns["unknown"] for category in found]
    sizes = [name for name, wrong in zip(names, columns["wrong_size"], strict=True) if wrong]
    if not usable:
        detail = f"; {_some(unreadable)}" if unreadable else ""
        raise DataError(f"{source}: none of its {len(names)} images can be read in {folder}{detail}")
    problems = (
        (unreadable, f"unreadable images, {len(usable)} of {len(names)} are {purpose}"),
        (boxes, "boxes without an area inside of the image, left out"),
        (objects, "annotations that cannot be used, left out"),
        (unknown, "objects of unknown categories, left out"),
        (sizes, "images of another size than their annotation states (EXIF rotation?), annotations taken as they are"),
    )
    for found, what in problems:
        if found and policy == "error":
            raise DataError(
                f"{source}: {what.split(',')[0]}: {len(found)} ({_some(found)}) in {folder}; mend them, or set "
                "data.on_bad_sample=skip to go on without them"
            )
        message = f"{source}: {what}: {len(found)} ({_some(found)})"
        if found and message not in _reported:
            _reported.add(message)
            log.warning("%s", message)
    return usable


def read_header(path: Path) -> tuple[tuple[int, int], str]:
    """Return ((height, width), why the image cannot be opened or ``""``) without decoding the pixels."""
    from PIL import Image

    if not path.is_file():
        return (0, 0), "missing"
    try:
        with Image.open(path) as image:
            return (image.height, image.width), ""
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return (0, 0), f"{type(error).__name__}: not an image that Pillow opens"


def _some(names: list[str]) -> str:
    counts = {name: names.count(name) for name in names[:200]}
    shown = [f"{name} x{count}" if count > 1 else name for name, count in list(counts.items())[:MAX_NAMES]]
    more = len(set(names)) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _has_area(box: tuple[float, float, float, float], height: int, width: int) -> bool:
    x1, y1, x2, y2 = box
    if not all(math.isfinite(value) for value in box) or x2 <= x1 or y2 <= y1:
        return False
    return min(x2, width) > max(x1, 0) and min(y2, height) > max(y1, 0)


def _feature(kind: str) -> Any:
    """Return the ``datasets`` feature of ``float32``, ``[float32]`` (a list) or ``[[float32]]``."""
    from datasets import Sequence, Value

    return Sequence(_feature(kind[1:-1])) if kind.startswith("[") else Value(kind)
