"""Which run a word names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import RunError
from lab.report.records.finding import find_run
from tests.reports import write_run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("detr-shapes-12", "detr-shapes-13"):
        write_run(tmp_path / "runs" / name, points=20)
    write_run(tmp_path / "elsewhere" / "yolo", points=20)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("detr-shapes-12", "runs/detr-shapes-12"),
        ("detr-shapes-13", "runs/detr-shapes-13"),
        ("runs/detr-shapes-12/", "runs/detr-shapes-12"),
        ("runs/detr-shapes-12/checkpoints/best.ckpt", "runs/detr-shapes-12"),
        ("runs/detr-shapes-12/run.json", "runs/detr-shapes-12"),
        ("elsewhere/yolo", "elsewhere/yolo"),
    ],
)
def test_words(here: Path, word: str, name: str) -> None:
    assert find_run(word).resolve() == here / name


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("detr", "detr: 2 runs in runs begin with this: detr-shapes-12, detr-shapes-13"),
        ("detr-shapes-1x", "detr-shapes-1x: there is no such run, here or in runs; did you mean"),
        ("elsewhere", "elsewhere is no run's directory, and no file of one"),
        ("", ""),
        ("a" * 5000, "a"),
    ],
)
def test_refusals(here: Path, word: str, line: str) -> None:
    with pytest.raises(RunError) as error:
        find_run(word)
    assert str(error.value).startswith(line)


def test_the_beginning_of_one_name(here: Path) -> None:
    write_run(here / "runs" / "yolo-abc", points=20)
    assert find_run("yolo") == Path("runs/yolo-abc")
