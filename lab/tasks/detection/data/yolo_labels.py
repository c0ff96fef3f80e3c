"""Reads one label file of the YOLO family: a line for each object, ``class x y width height``, all shares of the image.

``x`` and ``y`` are the centre. A line with a class and three or more points (``class x1 y1 x2 y2 x3 y3 ...``) is a
polygon, as segmentation and rotated boxes are stored; it is taken as its bounding box. A line with keypoints has the
box first. Everything that cannot be used is named with its line.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

from lab.data.fields import number_of, short, whole_of
from lab.data.images.annotations import RawObject
from lab.data.text_files import decode_text
from lab.errors import DataError

MAX_BYTES = 64 * 1024 * 1024
"""The largest label file."""
OVERSHOOT = 0.1
"""How far a coordinate may lie outside of 0..1: annotators and rounding overshoot a little."""
BOX = 5


@dataclass
class LabelFile:
    """The content of a label file.

    Attributes:
        unreadable: why the file cannot be used at all, or ``""``.
        shares: for each object its box (left, top, right, bottom) as shares of the image.
        classes: for each object its class.
        lines: for each object its line, counted from 1.
        bad: lines that cannot be used, and why.
        twice: lines that stand in the file again.
        polygons: lines that are a polygon in place of a box.
        keypoints: lines whose keypoints are left out.
        outside: lines with a coordinate a little outside of 0..1.
    """

    unreadable: str = ""
    shares: list[tuple[float, float, float, float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    polygons: list[str] = field(default_factory=list)
    keypoints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether the file has no line."""
        return not (self.unreadable or self.lines or self.bad)

    def objects(self, classes: int, height: int, width: int) -> list[RawObject]:
        """Return the objects with boxes in pixels of an image of this size, and labels below ``classes``."""
        found = []
        for (left, top, right, bottom), label, line in zip(self.shares, self.classes, self.lines, strict=True):
            box = (left * width, top * height, right * width, bottom * height)
            known = label if 0 <= label < classes else None
            category = f"class {label} of 0 to {classes - 1}"
            found.append(RawObject(box, category, known, None, False, name=f"line {line}"))
        return found


def read_labels(path: Path, keypoints: int = 0) -> LabelFile:
    """Read a label file. What is wrong with it is returned, not raised.

    Args:
        path: the file.
        keypoints: numbers of the keypoints that follow each box; 0 for none.
    """
    text, problem = _text(path)
    found, seen = LabelFile(problem), set[tuple[float, ...]]()
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, values = _numbers(words, keypoints)
            _check_range(values[:4] if keypoints else values)
            _check_size(values[:4] if keypoints else values)
        except ValueError as error:
            found.bad.append(f"line {number} ({error})")
            continue
        if (label, *values) in seen:
            found.twice.append(f"{path.name} line {number}")
            continue
        seen.add((label, *values))
        _add(found, number, label, values, keypoints)
    return found


def _add(found: LabelFile, number: int, label: int, values: list[float], keypoints: int) -> None:
    """Add an object to the content of a file."""
    which = f"line {number}"
    of_box = values[:4] if keypoints else values
    if len(of_box) == BOX - 1:
        x, y, width, height = of_box
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        xs, ys = of_box[::2], of_box[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        found.polygons.append(which)
    if len(values) > len(of_box):
        found.keypoints.append(which)
    if not all(0 <= value <= 1 for value in of_box):
        found.outside.append(f"{which} {[round(value, 4) for value in of_box[:4]]}")
    found.shares.append(box)
    found.classes.append(label)
    found.lines.append(number)


def _numbers(words: list[str], keypoints: int) -> tuple[int, list[float]]:
    """Return the class and the numbers of a line; of a line with keypoints all of them.

    Raises:
        ValueError: it is no line of a label file; the message says why.
    """
    count = len(words)
    if keypoints:
        fits, wanted = count in (BOX, BOX + keypoints), f"{BOX}, or {BOX + keypoints} with keypoints"
    else:
        fits, wanted = count == BOX or (count > BOX + 1 and count % 2 == 1), f"{BOX}, or a class and 3 points or more"
    if not fits:
        hint = ": is the last one a score?" if count == BOX + 1 else ""
        if count < BOX and any(sign in word for word in words for sign in ",;"):
            hint = ": they are separated by spaces or tabs"
        raise ValueError(f"{count} columns{hint}, a label has {wanted}")
    try:
        label = whole_of(words[0])
    except ValueError:
        raise ValueError(f"class={short(words[0])} is no whole number") from None
    values = []
    for word in words[1:]:
        try:
            values.append(number_of(word))
        except ValueError:
            hint = ": numbers are separated by spaces, and have a point" if "," in word else ""
            raise ValueError(f"{short(word)} is no number{hint}") from None
    return label, values


def _check_range(values: list[float]) -> None:
    """Check that the numbers of a line are shares of an image.

    Raises:
        ValueError: one is far outside of 0..1.
    """
    for value in values:
        if not -OVERSHOOT <= value <= 1 + OVERSHOOT:
            hint = ": in pixels?" if value > 2 else ""
            raise ValueError(f"{value:g} is outside of 0..1, the shares of an image{hint}")


def _check_size(values: list[float]) -> None:
    """Check that a box has no width or height below 0.

    Raises:
        ValueError: it has.
    """
    if len(values) == BOX - 1 and min(values[2:]) < 0:
        raise ValueError(f"width {values[2]:g} and height {values[3]:g}: below 0")


def _text(path: Path) -> tuple[str, str]:
    """Return the text of a file, or why it cannot be read."""
    name = f"{path.parent.name}/{path.name}"
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return "", f"{name} is no regular file"
        if state.st_size > MAX_BYTES:
            return "", f"{name} has more than {MAX_BYTES // 1024**2} MiB"
        return decode_text(path.read_bytes(), name), ""
    except DataError as error:
        return "", str(error)
    except OSError as error:
        return "", f"{name} cannot be read: {error.strerror or error}"
