"""The checks of single arguments: what they let by and the one line of each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lab.checking import check_choice, check_file, check_multiple, check_range, check_some
from lab.errors import ConfigError, DataError


def test_choices() -> None:
    check_choice("norm", "pre", {"pre": 1, "post": 2})
    check_choice("depth", 18, (18, 34))
    with pytest.raises(ConfigError, match=r"^norm='prre': should be one of pre, post; did you mean 'pre'\?$"):
        check_choice("norm", "prre", ("pre", "post"))
    with pytest.raises(ConfigError, match=r"^depth=19: should be one of 18, 34"):
        check_choice("depth", 19, (18, 34))
    with pytest.raises(ConfigError, match=r"^norm=None: should be one of pre$"):
        check_choice("norm", None, ["pre"])


@pytest.mark.parametrize(
    ("value", "ends", "line"),
    [
        (0, {"least": 0, "below": 1}, ""),
        (1, {"least": 0, "below": 1}, "rate=1: should be at least 0 and below 1"),
        (1, {"above": 0, "most": 1}, ""),
        (0, {"above": 0, "most": 1}, "rate=0: should be above 0 and at most 1"),
        (-1, {"least": 0}, "rate=-1: should be at least 0"),
        (math.nan, {"least": 0}, "rate=nan: should be at least 0"),
    ],
)
def test_ranges(value: float, ends: dict[str, Any], line: str) -> None:
    if not line:
        check_range("rate", value, **ends)
        return
    with pytest.raises(ConfigError) as caught:
        check_range("rate", value, **ends)
    assert str(caught.value) == line


@pytest.mark.parametrize("values", [(), (0,), (1, 5), [4, 7]])
def test_some_of_a_few(values: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        check_some("out_indices", values, range(1, 5), "stages")
    assert str(caught.value) == f"out_indices={tuple(values)}: expected some of 1, 2, 3, 4 (stages)"
    check_some("out_indices", [4, 1], range(1, 5))


def test_multiples() -> None:
    check_multiple("embed_dim", 8, 4)
    with pytest.raises(ConfigError, match=r"^embed_dim=9: should be a multiple of num_heads=4$"):
        check_multiple("embed_dim", 9, 4, "num_heads")
    with pytest.raises(ConfigError, match=r"^embed_dim=9: should be a multiple of 4$"):
        check_multiple("embed_dim", 9, 4)


def test_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    check_file(empty)
    for path, what in ((tmp_path, "a folder, no file"), (tmp_path / "no", "no such file"), (empty, "is empty")):
        with pytest.raises(DataError) as caught:
            check_file(path, may_be_empty=False)
        assert str(caught.value) == f"{path}: {what}"
