"""Checks stored masks of COCO's instances before they are rasterised: are they valid, and how much memory do they need?

A mask is a list of polygons (x, y, x, y, ...), or a run-length code whose counts are numbers or COCO's string. COCO's
code trusts both: it allocates memory in proportion to the length of a polygon's outline in pixels, and to the size that
a run-length code states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from lab.data.fields import Number, Whole, short

MIN_NUMBERS = 6  # of a polygon: three corners
REACH = 10
"""How far a polygon may extend beyond its image, in sides of the image."""
MAX_OUTLINE = 4_000_000
"""The longest outline of a mask in pixels: COCO's code takes some 60 bytes for each pixel."""


@dataclass(slots=True, kw_only=True)
class RunLengths:
    """A run-length code."""

    size: tuple[Whole, Whole]
    counts: Annotated[str | list[Whole], Field(union_mode="left_to_right")]


def usable_mask(stored: Any, size: tuple[int, int]) -> tuple[Any, str]:
    """Return the part of a ``segmentation`` that can be rasterised (None if nothing can), and what is wrong or ``""``.

    Args:
        stored: polygons, or a run-length code.
        size: (height, width) of the image.
    """
    if isinstance(stored, list) and stored:
        return _usable_polygons(stored, size)
    if not stored:
        return None, "no segmentation"
    if not isinstance(stored, dict) or "counts" not in stored or "size" not in stored:
        return None, "neither polygons nor a run-length code"
    try:
        code = _run_lengths().validate_python(stored)
    except ValidationError:
        return None, f"neither polygons nor a run-length code, but {short(stored)}"
    if code.size != size:
        return None, f"a code of [height, width] {short(list(code.size))}, the image is {list(size)}"
    if isinstance(code.counts, str):
        if not code.counts.isascii():
            return None, f"not a valid run-length code: {short(code.counts)}"
    elif any(count < 0 for count in code.counts) or sum(code.counts) != size[0] * size[1]:
        return None, f"counts that do not add up to the image's {size[0] * size[1]} pixels"
    return {"size": list(size), "counts": code.counts}, ""


def encode_object(stored: Any, size: tuple[int, int]) -> bytes:
    """Return COCO's run-length code of a usable mask in an image of (height, width); polygons are united."""
    from faster_coco_eval.core import mask as coco_mask

    if isinstance(stored, list):
        return bytes(coco_mask.merge(coco_mask.frPyObjects(stored, *size))["counts"])
    if isinstance(stored["counts"], list):
        return bytes(coco_mask.frPyObjects(stored, *size)["counts"])
    return bytes(stored["counts"].encode())


def polygons_box(polygons: list[list[float]]) -> tuple[float, float, float, float]:
    """Return the box (xyxy) around polygons."""
    xs, ys = [value for part in polygons for value in part[::2]], [value for part in polygons for value in part[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _usable_polygons(stored: list[Any], size: tuple[int, int]) -> tuple[list[list[float]] | None, str]:
    """Return the polygons that can be rasterised, and what is wrong with the others."""
    good, corners, far = [], 0, 0
    budget = float(MAX_OUTLINE)
    for part in stored:
        polygon = _polygon(part)
        if polygon is None:
            corners += 1
            continue
        length = _outline(polygon, size)
        if length > budget:
            far += 1
            continue
        budget -= length
        good.append(polygon)
    problems = [f"{corners} of {len(stored)} polygons are not x, y of three or more corners"] if corners else []
    if far:
        problems.append(f"{far} of {len(stored)} polygons reach too far beyond the image, or go around it too often")
    return good or None, "; ".join(problems)


def _polygon(part: Any) -> list[float] | None:
    if not isinstance(part, list) or len(part) < MIN_NUMBERS or len(part) % 2:
        return None
    try:
        numbers = _numbers().validate_python(part)
    except ValidationError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _outline(polygon: list[float], size: tuple[int, int]) -> float:
    """Return the length of an outline in pixels; infinite if it extends too far beyond the image."""
    reach = REACH * max(size)
    if not all(-reach <= value <= reach + max(size) for value in polygon):
        return float("inf")
    sides = [list(pairwise([*axis, axis[0]])) for axis in (polygon[::2], polygon[1::2])]
    return sum(max(abs(x2 - x1), abs(y2 - y1)) + 1 for (x1, x2), (y1, y2) in zip(*sides, strict=True))


@cache
def _numbers() -> TypeAdapter[list[float]]:
    return TypeAdapter(list[Number])


@cache
def _run_lengths() -> TypeAdapter[RunLengths]:
    return TypeAdapter(RunLengths)
