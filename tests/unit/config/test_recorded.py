"""A run's config.yaml is read whatever it is: no text of it exhausts the stack or the memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.config.flattening import flat
from lab.config.recorded import UnreadableConfig, read_recorded


def test_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: {b: 1, c: [2, x], d: {}}\ne: null\nf: &k [1]\ng: *k\n")
    found = read_recorded(tmp_path / "config.yaml")
    assert found == {"a": {"b": 1, "c": [2, "x"], "d": {}}, "e": None, "f": [1], "g": [1]}
    assert dict(flat(found)) == {"a.b": 1, "a.c": [2, "x"], "a.d": {}, "e": None, "f": [1], "g": [1]}


LAUGHS = "a: &a [x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * 100_000, "is nested deeper than 64 levels"),
        ("- " * 100_000, "is nested deeper than 64 levels"),
        ("{a: " * 100, "is nested deeper than 64 levels"),
        ("a: &a {b: *a}", "contains itself (*a)"),
        (LAUGHS, "has more than 16 aliases"),
        ("a: [", "cannot be read ("),
        ("a: !!python/object/apply:os.system [ls]", "cannot be read ("),
        ("- 1", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: " + "x" * 2**20, "is larger than 1024 KiB"),
        (b"\xff", "cannot be read ('utf-8'"),
        ("a: 2026-99-99", "cannot be read ("),
    ],
)
def test_refusals(tmp_path: Path, text: str | bytes, line: str) -> None:
    (tmp_path / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UnreadableConfig) as error:
        read_recorded(tmp_path / "config.yaml")
    assert str(error.value).startswith(line)


def test_pipes_folders_and_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, line in (("pipe", "cannot be read (no regular file)"), (".", "cannot be read"), ("no", "is missing")):
        with pytest.raises(UnreadableConfig, match=line.replace("(", r"\(").replace(")", r"\)")):
            read_recorded(tmp_path / name)
