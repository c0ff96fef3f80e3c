"""Rows of annotations: the readers of COCO and Pascal VOC make one checked row for each image.

Hugging Face ``datasets`` writes the rows to an Arrow table in its cache, keyed by the content of the annotation files,
so json and XML are parsed and image headers opened only once. Everything wrong with an image is recorded in its row and
reported by ``lab.data.images.problems``: nothing is left out silently.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lab.data.caches import cache_folder, cannot_write, is_of_writing
from lab.data.folders import as_utf8, name_problem, stored_name
from lab.errors import DataError, LabError

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

ROWS_VERSION = 3  # part of the cache key: raise it when the content of rows changes
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
    "bad_objects": "[string]",
    "unknown": "[string]",
    "mended": "[string]",
    "beyond": "[string]",
    "tiny": "[string]",
    "twice": "[string]",
    "bad_images": "[string]",
    "strays": "[string]",
    "shared": "[string]",
    "wrong_size": "bool",
    "unturned": "bool",
}
MAX_COORDINATE = 1e7
"""The largest coordinate of a box: beyond it float32 could not tell pixels apart, and no image is that large."""
BEYOND = 0.1
"""The share of an image's side that a box may extend beyond it without a report: annotators overshoot a little."""

BadSamplePolicy = Literal["error", "skip"]

_reported: set[str] = set()


class RawObject(NamedTuple):
    """One annotated object as in the file.

    Attributes:
        box: xyxy in pixel edges.
        category: the category's name or id, for messages.
        label: 0..K-1, or None if the category is unknown.
        area: in square pixels; None if the file has no valid area, and that of the box is used.
        iscrowd: a group or a difficult object: ignored in training, neither hit nor miss in evaluation.
        name: which annotation it is, for messages.
        mended: what was corrected in it, and how; ``""`` if nothing was.
    """

    box: tuple[float, float, float, float]
    category: str
    label: int | None
    area: float | None
    iscrowd: bool
    name: str = ""
    mended: str = ""


def make_row(
    folder: Path,
    name: str,
    image_id: int,
    stated_size: tuple[int, int] | None,
    objects: Iterable[RawObject] | Callable[[int, int], Iterable[RawObject]],
    bad_objects: Sequence[str] = (),
    twice: Sequence[str] = (),
) -> dict[str, Any]:
    """Check one image and its objects and put them into a row.

    The image's header is read, its pixels are not decoded. Boxes that are not finite, have no area, or lie outside of
    the image are left out and counted, and so are objects of unknown categories.

    Args:
        folder: where the images are.
        name: the image's file name, relative to ``folder``.
        image_id: the dataset's own id.
        stated_size: (height, width) in the annotation; None if it has none.
        objects: the objects in the annotation, or a function that returns them for the image's height and width.
        bad_objects: entries that cannot be read at all, and why.
        twice: entries that are duplicates of others.
    """
    found = find_image(folder, name, stated_size)
    (height, width), unreadable = found.size, found.problem
    row: dict[str, Any] = {"image_id": image_id, "file_name": found.name, "height": height, "width": width}
    row |= {column: [] for column, kind in ROW_COLUMNS.items() if kind.startswith("[")}
    row |= {"unreadable": unreadable, "bad_objects": list(bad_objects), "twice": list(twice)}
    row["wrong_size"] = not unreadable and stated_size is not None and stated_size != (height, width)
    row["unturned"] = found.unturned
    for item in objects(height, width) if callable(objects) else objects:
        if item.label is None:
            row["unknown"].append(item.category)
        elif not unreadable:
            _add_object(row, item, height, width)
    return row


def _add_object(row: dict[str, Any], item: RawObject, height: int, width: int) -> None:
    """Add a box to a row, or a record of what is wrong with it."""
    x1, y1, x2, y2 = item.box
    which = f" ({item.name})" if item.name else ""
    shown = f"{[round(value, 2) for value in item.box]}{which}"
    wide, high = min(x2, width) - max(x1, 0), min(y2, height) - max(y1, 0)
    is_box = all(abs(value) <= MAX_COORDINATE for value in item.box) and x2 > x1 and y2 > y1  # NaN is never below
    if not is_box or wide <= 0 or high <= 0:
        row["bad_boxes"].append(shown)
        return
    tell_odd_box(row, item.box, (height, width), item.name)
    if item.mended:
        row["mended"].append(f"{item.mended}{which}")
    row["boxes"].append(list(item.box))
    row["labels"].append(item.label)
    row["area"].append((x2 - x1) * (y2 - y1) if item.area is None else item.area)
    row["iscrowd"].append(item.iscrowd)


def tell_odd_box(row: dict[str, Any], box: tuple[float, float, float, float], size: tuple[int, int], name: str) -> None:
    """Add a box (xyxy) to ``row["tiny"]`` or ``row["beyond"]`` if it is suspicious in an image of (height, width)."""
    (x1, y1, x2, y2), (height, width) = box, size
    shown = f"{[round(value, 2) for value in box]}" + (f" ({name})" if name else "")
    wide, high = min(x2, width) - max(x1, 0), min(y2, height) - max(y1, 0)
    if min(wide, high) <= 0:
        return  # no part of it is in the image: it is left out and reported as such
    if min(wide, high) < 1:
        row["tiny"].append(shown)
    if max(-x1, x2 - width) > BEYOND * width or max(-y1, y2 - height) > BEYOND * height:
        row["beyond"].append(shown)


def tell_once(message: str) -> None:
    """Log a warning only once per process."""
    if message not in _reported:
        _reported.add(message)
        log.warning("%s", message)


def build_table(
    read: Callable[..., Iterator[dict[str, Any]]],
    arguments: Mapping[str, Any],
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Return the Arrow table of the rows that ``read(**arguments)`` yields; from the cache if it is there.

    Args:
        read: a generator function at module level.
        arguments: also the cache's key, so they must include the fingerprint of everything that is read.
        columns: name and type of each column; None for those of ``make_row``.

    Raises:
        LabError: an error that ``read`` raised.
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
    except OSError as error:  # the folder was removed meanwhile
        raise DataError(cannot_write(folder, error)) from error
    finally:
        if show:
            datasets.enable_progress_bars()


class FoundImage(NamedTuple):
    """An annotated image on disk, its pixels not decoded.

    Attributes:
        name: relative to the folder, as the file system spells it.
        size: (height, width) of the image in whose pixels the annotation is.
        problem: why the image cannot be used, or ``""``.
        unturned: whether the annotation is in the pixels before the EXIF orientation is applied.
    """

    name: str
    size: tuple[int, int]
    problem: str
    unturned: bool


def find_image(folder: Path, name: str, stated_size: tuple[int, int] | None = None) -> FoundImage:
    """Find the image that an annotation names. Problems are returned, not raised.

    Args:
        folder: where the images are; a name that leads out of it is a problem.
        name: the name in the annotation.
        stated_size: (height, width) in the annotation; None if it has none.
    """
    from lab.data.images.opening import read_image_header

    if problem := name_problem(name):
        return FoundImage(as_utf8(name), (0, 0), problem, False)
    name = stored_name(folder, name)
    header = read_image_header(folder / name)
    unturned = stated_size == header.stored != header.size
    return FoundImage(name, header.stored if unturned else header.size, header.problem, unturned)


def _feature(kind: str) -> Any:
    """Return the ``datasets`` feature for ``float32``, ``[float32]`` (a list) or ``[[float32]]``."""
    from datasets import Sequence, Value

    return Sequence(_feature(kind[1:-1])) if kind.startswith("[") else Value(kind)
