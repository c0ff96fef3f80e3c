"""Parts of a prediction: in the order of the inputs, published as a whole; what ended on its way leaves nothing."""

from __future__ import annotations

import errno
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from lab.errors import RunError
from lab.run_lock import RunLock
from lab.strategies import collectives
from lab.system.signals import Interrupted
from lab.training.parts import Parts, Records, RecordWriter, parts_in


def names(folder: Path) -> list[str]:
    """Return all files and folders below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def fill(parts: Parts, numbers: list[int]) -> None:
    """Write a picture and a record for each number."""
    (parts.own / "pictures").mkdir(parents=True)
    with closing(RecordWriter(parts)) as records:
        for number in numbers:
            (parts.own / "pictures" / f"{number}.png").write_text(str(number))
            records.write(number, {"twice": 2 * number})


def test_three_ranks_in_order(tmp_path: Path) -> None:
    """One of them has nothing; records can be read again; what stood there keeps its place until the end."""
    ranks = [Parts(tmp_path, tmp_path / ".parts-x", rank) for rank in range(3)]
    for parts, numbers in zip(ranks, ([0, 1, 6], [2, 3, 7], []), strict=True):
        fill(parts, numbers)
    folders = [parts.own for parts in ranks]
    records = Records(folders)
    for _ in range(2):
        assert [(record["number"], record["twice"]) for record in records] == [(n, 2 * n) for n in (0, 1, 2, 3, 6, 7)]
    (tmp_path / "pictures").mkdir()
    for name in ("7.png", "8.png"):
        (tmp_path / "pictures" / name).write_text("old")
    ranks[0].merged.mkdir()
    (ranks[0].merged / "results.json").write_text("[]")
    ranks[0].publish([*folders, ranks[0].merged])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".parts-x", "pictures", "results.json"]
    content = {path.name: path.read_text() for path in (tmp_path / "pictures").iterdir()}
    assert content == {**{f"{n}.png": str(n) for n in (0, 1, 2, 3, 6, 7)}, "8.png": "old"}


def test_ranks_of_a_tensor_group_have_the_same_inputs(tmp_path: Path) -> None:
    ranks = [Parts(tmp_path, tmp_path / ".parts-x", rank) for rank in range(4)]
    for parts, numbers in zip(ranks, ([0, 2], [0, 2], [1, 3], [1, 3]), strict=True):
        fill(parts, numbers)
    assert [record["number"] for record in Records([parts.own for parts in ranks])] == [0, 1, 2, 3]


def test_numbers_must_ascend(tmp_path: Path) -> None:
    with parts_in(tmp_path, 0) as parts, closing(RecordWriter(parts)) as records:
        records.write(3, {})
        with pytest.raises(RuntimeError, match="input 3 comes after input 3"):
            records.write(3, {})


ENDS = [OSError(errno.ENOSPC, "No space left on device"), Interrupted(2), KeyboardInterrupt(), ValueError("x")]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_nothing_is_left(tmp_path: Path, end: BaseException) -> None:
    """Folders that were made for it go too, others stay."""

    def work(folder: Path) -> None:
        with parts_in(folder, 0) as parts:
            fill(parts, [1, 2])
            parts.collect()
            (parts.merged / "results.json").write_text("[1, ")
            raise end

    (tmp_path / "runs").mkdir()
    for folder in (tmp_path / "runs", tmp_path / "runs" / "mine" / "predict-best"):
        with pytest.raises(type(end)):
            work(folder)
    assert names(tmp_path) == ["runs"]


def test_what_a_kill_has_left_goes_and_what_runs_stays(tmp_path: Path) -> None:
    for name in (".parts-killed", ".parts-mine"):
        (tmp_path / name).mkdir()
    (tmp_path / ".parts-killed" / "run.lock").touch()
    (tmp_path / ".parts-mine" / "notes.txt").touch()
    running = RunLock(tmp_path / ".parts-running")
    try:
        with parts_in(tmp_path, 0) as parts:
            assert len([path for path in tmp_path.iterdir() if path != parts.temporary]) == 2
    finally:
        running.release()
    assert names(tmp_path) == [".parts-mine", ".parts-mine/notes.txt", ".parts-running", ".parts-running/run.lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full before anything is written."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("tempfile.mkdtemp", "lab.training.parts.RunLock"):
        with monkeypatch.context() as patch:
            patch.setattr(name, refuse)
            with suppress(OSError), parts_in(tmp_path / "a" / "b", 0):
                raise AssertionError("it was made")
        assert names(tmp_path) == []


def test_a_rank_without_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 on a machine where nothing of what rank 0 has made can be seen."""
    monkeypatch.setattr(collectives, "from_rank_zero", lambda value: (".parts-elsewhere", []))
    with pytest.raises(RunError, match="rank 1 does not see it; the ranks of a prediction need one shared disk"):
        parts_in(tmp_path / "predict-best", 1).__enter__()
    assert names(tmp_path) == []
