"""Places the shapes of generated scenes so that all can be seen, and tells beforehand whether there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lab.data.scenes.drawing import Stream
from lab.errors import ConfigError

_MAX_ASPECT = (3, 2)  # longer : shorter side
_PLACE_TRIES, _LAYOUT_TRIES = 32, 200
_DRAWS = 20_000
"""Sizes of scenes that are drawn to find those with the least room."""
_TRIED, _TRIED_SHAPES = 50, 2_000
"""Of these so many of the largest are placed; fewer where they have many shapes."""
_FAILURES = 5
"""So many of them may fail; scenes that are so rare get other sizes."""


@dataclass
class Placed:
    """A box in a scene: its sides and its upper left corner in pixels."""

    width: int
    height: int
    x: int = 0
    y: int = 0

    @property
    def area(self) -> int:
        """In pixels."""
        return self.width * self.height


def sides_within(min_side: int, max_side: int) -> list[tuple[int, int]]:
    """Return the pairs (width, height) in a range of pixels whose longer side is at most 1.5 times the shorter."""
    long, short = _MAX_ASPECT
    sides = range(min_side, max_side + 1)
    return [(w, h) for w in sides for h in sides if max(w, h) * short <= min(w, h) * long]


def place(shapes: Sequence[Placed], image_size: int, max_overlap: float, stream: Stream) -> bool:
    """Draw corners until no two boxes overlap too much and no box is covered by more than half.

    Outlines are ignored, so that they do not depend on what fits.

    Args:
        shapes: with their sides; corners are set.
        image_size: side of the image in pixels.
        max_overlap: largest IoU between two boxes.
        stream: the random numbers.

    Returns:
        Whether a layout was found.
    """
    for _ in range(_LAYOUT_TRIES):
        covered: list[int] = []
        if all(_place_next(shapes, number, covered, image_size, max_overlap, stream) for number in range(len(shapes))):
            return True
    return False


def require_room(image_size: int, max_shapes: int, min_side: int, max_side: int, max_overlap: float) -> None:
    """Refuse sizes of shapes for which a training would meet scenes that cannot be placed.

    Raises:
        ConfigError: of 20,000 scenes of ``max_shapes`` more than five cannot be placed; it names a side that fits.
    """
    if _has_room(image_size, max_shapes, min_side, max_side, max_overlap):
        return
    low, high = min_side - 1, max_side  # there is room with ``low``, if it is not below ``min_side``, not with ``high``
    while high - low > 1:
        middle = (low + high) // 2
        if _has_room(image_size, max_shapes, min_side, middle, max_overlap):
            low = middle
        else:
            high = middle
    fits = f"max_side={low} would fit; else " if low >= min_side else ""
    raise ConfigError(
        f"shapes: cannot place {max_shapes} shapes of up to max_side={max_side} px in every image of "
        f"image_size={image_size} px: {fits}lower max_shapes or max_side, or raise image_size or max_overlap"
    )


@lru_cache(maxsize=256)
def _has_room(image_size: int, count: int, min_side: int, max_side: int, max_overlap: float) -> bool:
    """Return whether all but a few of many scenes can be placed, the same on every platform."""
    pairs = np.array(sides_within(min_side, max_side))
    numbers = Stream(0).bytes(4 * _DRAWS * count).view("<u4").reshape(_DRAWS, count).astype(np.uint64)
    drawn = pairs[(numbers * np.uint64(len(pairs)) >> np.uint64(32)).astype(np.int64)]  # (_DRAWS, count, 2)
    order = np.argsort(-drawn.prod(axis=2).sum(axis=1), kind="stable")
    stream, failures = Stream(1), 0
    for row in order[: min(_TRIED, _TRIED_SHAPES // max(1, count))]:
        failures += not place([Placed(*sides) for sides in drawn[row].tolist()], image_size, max_overlap, stream)
        if failures > _FAILURES:
            return False
    return True


def _place_next(
    shapes: Sequence[Placed], number: int, covered: list[int], image_size: int, max_overlap: float, stream: Stream
) -> bool:
    shape, area = shapes[number], shapes[number].area
    width, height = shape.width, shape.height
    others = [
        (other.x, other.y, other.x + other.width, other.y + other.height, other.area, hidden)
        for other, hidden in zip(shapes[:number], covered, strict=True)
    ]
    for _ in range(_PLACE_TRIES):
        x, y = stream.below(image_size - width + 1), stream.below(image_size - height + 1)
        right, bottom = x + width, y + height
        shared = []
        for left, top, end, foot, size, hidden in others:
            both = 0
            if x < end and left < right and y < foot and top < bottom:
                both = (min(right, end) - max(x, left)) * (min(bottom, foot) - max(y, top))
                if both > max_overlap * (area + size - both) or 2 * (hidden + both) > size:
                    break
            shared.append(both)
        else:
            shape.x, shape.y = x, y
            covered[:] = [*map(sum, zip(covered, shared, strict=True)), 0]
            return True
    return False
