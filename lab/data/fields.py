"""Types of the fields of annotation files, for pydantic: numbers, flags and ids as other tools write them.

A value is accepted if it has only one meaning: ``"12"`` and ``12.0`` as whole numbers, ``"0"`` as false. Booleans are
not accepted as numbers. Values that have the right type already are checked in Rust, so that all of COCO takes seconds;
only other values reach the functions below.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import Field, PlainValidator, Strict, TypeAdapter, ValidationError

T = TypeVar("T")

BLOCK = 4096
"""Items in a block; a block with a bad item is checked a second time, item by item."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,200}(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]{1,200}\.?[0-9]{0,200}|\.[0-9]{1,200})([eE][+-]?[0-9]{1,3})?")
_FLAGS = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}


def whole_of(value: Any) -> int:
    """Return a whole number that is written as a string or with a decimal point.

    Raises:
        ValueError: it is not a whole number.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is int:
        return value
    raise ValueError("no whole number")


def number_of(value: Any) -> float:
    """Return a finite number that is written as a string.

    Raises:
        ValueError: it is not a finite number.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    raise ValueError("no number")


def flag_of(value: Any) -> bool:
    """Return a boolean from 0 or 1, true or false, yes or no, as number or string.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    raise ValueError("neither 0 nor 1")


def identity_of(value: Any) -> int | str:
    """Return an id: a whole number, or a string that is not a number (``"frame_1"``).

    Raises:
        ValueError: it is neither.
    """
    try:
        return whole_of(value)
    except ValueError:
        if isinstance(value, str) and value.strip():
            return value.strip()
        raise


_IN_ORDER = Field(union_mode="left_to_right")
Whole = Annotated[Annotated[int, Strict()] | Annotated[int, PlainValidator(whole_of)], _IN_ORDER]
Number = Annotated[Annotated[float, Strict()] | Annotated[float, PlainValidator(number_of)], _IN_ORDER]
Flag = Annotated[bool, PlainValidator(flag_of)]
Identity = Annotated[Annotated[int, Strict()] | Annotated[int | str, PlainValidator(identity_of)], _IN_ORDER]


def check_each(
    adapter: TypeAdapter[list[T]], items: Sequence[Any], wanted: Mapping[str, str]
) -> Iterator[tuple[Any, T | None, str]]:
    """Yield for each item: the raw item, the checked item (None if it is bad), and what is wrong or ``""``.

    Args:
        adapter: pydantic's adapter for a list of a dataclass.
        items: the items of a file.
        wanted: for each field of the dataclass what its value should be, in words.
    """
    for start in range(0, len(items), BLOCK):
        block = list(items[start : start + BLOCK])
        problems: dict[int, str] = {}
        try:
            checked = adapter.validate_python(block)
        except ValidationError as error:
            for place, *keys in (one["loc"] for one in error.errors(include_url=False, include_input=False)):
                problems.setdefault(int(place), _what_is_wrong(block[int(place)], keys, wanted))
            checked = adapter.validate_python([item for place, item in enumerate(block) if place not in problems])
        good = iter(checked)
        for place, item in enumerate(block):
            yield (item, None, problems[place]) if place in problems else (item, next(good), "")


def check_one(adapter: TypeAdapter[list[T]], item: Any, wanted: Mapping[str, str]) -> tuple[T | None, str]:
    """Return one item as ``check_each`` does."""
    ((_, checked, problem),) = check_each(adapter, [item], wanted)
    return checked, problem


def short(value: Any) -> str:
    """Return a value as Python writes it, cut to a few dozen letters."""
    return reprlib.repr(value)


def _what_is_wrong(item: Any, keys: Sequence[int | str], wanted: Mapping[str, str]) -> str:
    if not isinstance(item, dict):
        return f"{short(item)} is no object of json"
    key = str(keys[0]) if keys else ""
    if item.get(key) is None:
        return f"no {key}"
    return f"{key}={short(item[key])} is not {wanted.get(key, 'of the right type')}"
