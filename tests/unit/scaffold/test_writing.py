from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.scaffold.writing import write_new


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_all_are_written(tmp_path: Path) -> None:
    write_new(tmp_path / "new" / "here", {"a.txt": "1\n", "b/c/d.txt": "2\n"})
    assert content(tmp_path) == {"new/here/a.txt": "1\n", "new/here/b/c/d.txt": "2\n"}


def test_nothing_is_overwritten_and_none_is_written(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"b/c\.txt exists already, and nothing is overwritten"):
        write_new(tmp_path, {"a/a.txt": "1", "b/c.txt": "2"})
    assert content(tmp_path) == {"b/c.txt": "mine"}
    assert not (tmp_path / "a").exists()


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(tmp_path, {"a.txt": "1"})
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(ConfigError, match=r"/a is a file, and .*/a/b/c\.txt needs a folder there"):
        write_new(tmp_path, {"a/b/c.txt": "1"})


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = os.link, 0

    def full(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(KeyboardInterrupt):
        write_new(tmp_path / "new", {"a/a.txt": "1", "b.txt": "2"})
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.scaffold.writing.check_new", lambda *_: None)  # as if it came after the check
    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(tmp_path, {"a.txt": "1", "b.txt": "2"})
    assert content(tmp_path) == {"b.txt": "mine"}


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    write_new(tmp_path, {"a/b.txt": "1"})
    assert content(tmp_path) == {"a/b.txt": "1"}
