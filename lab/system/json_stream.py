"""JSON lists that are written item by item, with the bytes that ``json.dumps`` of the whole list has. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def list_pieces(items: Iterable[Any], indent: int | None = None, level: int = 0) -> Iterator[str]:
    """Yield what ``json.dumps(list(items), indent=indent)`` returns, a piece for each item.

    Args:
        items: plain data; one is held at a time.
        indent: spaces of each level of nesting; None for one line.
        level: how deep the list stands in what is written.
    """
    begin = "" if indent is None else "\n" + " " * indent * (level + 1)
    between = ", " if indent is None else ","
    first = True
    for item in items:
        # No string holds a line's end as it is, so each that is found is one of the layout.
        text = json.dumps(item, indent=indent).replace("\n", begin)
        yield f"{'[' if first else between}{begin}{text}"
        first = False
    yield "[]" if first else f"{begin[:-indent] if indent else begin}]"


def object_pieces(lists: Mapping[str, Iterable[Any]], indent: int | None = None) -> Iterator[str]:
    """Yield what ``json.dumps`` returns of an object whose values are lists, a piece for each item of them."""
    begin = "" if indent is None else "\n" + " " * indent
    between = ", " if indent is None else ","
    for number, (key, items) in enumerate(lists.items()):
        yield f"{between if number else '{'}{begin}{json.dumps(key)}: "
        yield from list_pieces(items, indent, level=1)
    end = "" if indent is None else "\n"
    yield f"{end}}}" if lists else "{}"
