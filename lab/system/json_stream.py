"""Writes JSON lists item by item, with the same bytes as ``json.dumps`` of the whole list. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def list_pieces(items: Iterable[Any], indent: int | None = None, level: int = 0) -> Iterator[str]:
    """Yield the text of ``json.dumps(list(items), indent=indent)``, a piece for each item.

    Args:
        items: plain data; one item is in memory at a time.
        indent: spaces for each level of nesting; None for one line.
        level: the nesting level of the list in the whole text.
    """
    begin = "" if indent is None else "\n" + " " * indent * (level + 1)
    between = ", " if indent is None else ","
    first = True
    for item in items:
        # JSON strings hold no raw line breaks, so every line break belongs to the layout.
        text = json.dumps(item, indent=indent).replace("\n", begin)
        yield f"{'[' if first else between}{begin}{text}"
        first = False
    yield "[]" if first else f"{begin[:-indent] if indent else begin}]"


def object_pieces(lists: Mapping[str, Iterable[Any]], indent: int | None = None) -> Iterator[str]:
    """Yield the text of ``json.dumps`` for an object whose values are lists, a piece for each item of the lists."""
    begin = "" if indent is None else "\n" + " " * indent
    between = ", " if indent is None else ","
    for number, (key, items) in enumerate(lists.items()):
        yield f"{between if number else '{'}{begin}{json.dumps(key)}: "
        yield from list_pieces(items, indent, level=1)
    end = "" if indent is None else "\n"
    yield f"{end}}}" if lists else "{}"
