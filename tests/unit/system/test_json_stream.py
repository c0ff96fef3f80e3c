"""What is written item by item has the bytes of what ``json.dumps`` makes of the whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from lab.system.json_stream import list_pieces, object_pieces

NESTED = {"id": 1, "name": "a\nb \udce9 é", "box": [1.5, -0.0, 1e-7], "none": None, "deep": {"x": [], "y": [[2]]}}
LISTS: dict[str, list[Any]] = {"none": [], "one": [NESTED], "more": [NESTED, 3, "x\n", [], {}, [[1], []]]}


@pytest.mark.parametrize("indent", [None, 0, 1, 2])
@pytest.mark.parametrize("items", LISTS.values(), ids=LISTS.keys())
def test_lists(items: Sequence[Any], indent: int | None) -> None:
    assert "".join(list_pieces(iter(items), indent)) == json.dumps(items, indent=indent)


@pytest.mark.parametrize("indent", [None, 0, 1, 2])
def test_objects(indent: int | None) -> None:
    pieces = object_pieces({key: iter(items) for key, items in LISTS.items()}, indent)
    assert "".join(pieces) == json.dumps(LISTS, indent=indent)
    assert "".join(object_pieces({}, indent)) == json.dumps({}, indent=indent)
