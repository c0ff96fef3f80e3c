"""Types of the entries in json files of COCO's layout, and the words for messages about wrong values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from lab.data.fields import Flag, Identity, Number, Whole, whole_of

_Loose = Field(union_mode="left_to_right")


@dataclass(slots=True, kw_only=True)
class CategoryEntry:
    """An entry of ``categories``."""

    id: Whole
    name: Annotated[str | Whole, _Loose]
    isthing: Flag | None = None


@dataclass(slots=True, kw_only=True)
class ImageEntry:
    """An entry of ``images``; ``name`` and ``stated`` are derived from the other fields."""

    id: Identity
    file_name: Any = None
    coco_url: Any = None
    height: Any = None
    width: Any = None

    @property
    def stated_size(self) -> tuple[int, int] | None:
        """(height, width) in the file, None if it has none; 0 for a side that is not a number."""
        if self.height is None or self.width is None:
            return None
        sides = [_whole_or_zero(side) for side in (self.height, self.width)]
        return sides[0], sides[1]


@dataclass(slots=True, kw_only=True)
class ObjectEntry:
    """The fields that all annotations have; ``id`` is used in messages only."""

    image_id: Identity
    id: Any = None


@dataclass(slots=True, kw_only=True)
class BoxEntry(ObjectEntry):
    """An annotation of data=coco; ``bbox`` is x, y, width, height; ``area`` is not checked here."""

    category_id: Whole
    bbox: Annotated[tuple[()] | tuple[Number, Number, Number, Number] | None, _Loose] = None
    area: Annotated[Number | Any, _Loose] = None
    iscrowd: Flag | None = None


@dataclass(slots=True, kw_only=True)
class MaskEntry(ObjectEntry):
    """An annotation of data=coco_instances; ``segmentation`` and ``area`` are not checked here."""

    category_id: Whole
    segmentation: Any = None
    area: Annotated[Number | Any, _Loose] = None
    iscrowd: Flag | None = None


@dataclass(slots=True, kw_only=True)
class PanopticEntry(ObjectEntry):
    """An annotation of data=coco_panoptic: one for each image."""

    file_name: str
    segments_info: list[Any]


WANTED = {
    "id": "a whole number or a text",
    "image_id": "a whole number or a text",
    "category_id": "a whole number",
    "name": "a text",
    "isthing": "0 or 1",
    "iscrowd": "0 or 1",
    "bbox": "four numbers x, y, width, height",
    "file_name": "a text",
    "segments_info": "a list",
}


def usable_area(value: Any) -> float | None:
    """Return a stated area in square pixels; None if it is not a valid area."""
    return float(value) if isinstance(value, float) and 0 <= value <= 1e12 else None


def _whole_or_zero(value: Any) -> int:
    try:
        return max(whole_of(value), 0)
    except ValueError:
        return 0


def adapter_of(kind: type[Any]) -> TypeAdapter[list[Any]]:
    """Return the pydantic adapter for a list of entries of a kind; it is made once."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(list[kind])  # type: ignore[valid-type]
    return _adapters[kind]


_adapters: dict[type[Any], TypeAdapter[list[Any]]] = {}
