"""A run's files in a tar stream: only what has changed, checkpoints as a whole, and nothing that leads elsewhere."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lab.errors import RunError
from lab.sweeps import transfer
from lab.sweeps.transfer import pack, unpack

MOST = 1 << 20


def checkpoint(run: Path, name: str, text: str) -> None:
    folder = run / "checkpoints" / f"{name}.ckpt"
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("index.json", "state.pt"):
        (folder / file).write_text(f"{text} {file}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    checkpoint(run, "last", "step 1")
    checkpoint(run, "previous", "step 0")
    (run / "checkpoints" / ".last.ckpt.writing").mkdir()
    for name in ("run.json", "metrics.csv", "run.lock", "config.yaml", "output.log"):
        (run / name).write_text(name)
    (run / "wandb").mkdir()
    (run / "wandb" / "link").symlink_to("/etc/passwd")
    return run


def names(tar: Path) -> list[str]:
    with tarfile.open(tar) as opened:
        return opened.getnames()


def tar_of(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for entry, content in entries:
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_only_what_has_changed_is_sent(run: Path, tmp_path: Path) -> None:
    tar, there = tmp_path / "tar", tmp_path / "there"
    known = pack(run, {}, tar, MOST)
    assert names(tar) == [
        "checkpoints/last.ckpt/index.json",
        "checkpoints/last.ckpt/state.pt",
        "output.log",
        "metrics.csv",
        "run.json",
    ]
    unpack(tar, there, MOST)
    assert (there / "checkpoints/last.ckpt/state.pt").read_text() == "step 1 state.pt"
    tar.unlink()
    assert pack(run, known, tar, MOST) == known
    assert not tar.exists()
    (run / "checkpoints/last.ckpt/index.json").write_text("step 2, longer")
    (run / "metrics.csv").write_text("more rows")
    pack(run, known, tar, MOST)
    assert names(tar) == ["checkpoints/last.ckpt/index.json", "checkpoints/last.ckpt/state.pt", "metrics.csv"]
    (there / "checkpoints/last.ckpt/of_another_rank").write_text("older")
    unpack(tar, there, MOST)
    assert sorted(file.name for file in (there / "checkpoints/last.ckpt").iterdir()) == ["index.json", "state.pt"]
    assert (there / "checkpoints/last.ckpt/index.json").read_text() == "step 2, longer"
    assert [path.name for path in (there / "checkpoints").iterdir()] == ["last.ckpt"]


def test_nothing_comes_of_no_run(tmp_path: Path) -> None:
    assert pack(tmp_path / "none", {}, tmp_path / "tar", MOST) == {}
    assert not (tmp_path / "tar").exists()


def test_a_large_file_is_refused_on_both_sides(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"output.log has 10 bytes; launcher.max_file allows 9|index.json has 17 bytes"):
        pack(run, {}, tmp_path / "tar", 9)
    tar = tar_of(tmp_path / "tar", (tarfile.TarInfo("output.log"), b"x" * 100))
    with pytest.raises(RunError, match=r"output.log has 100 bytes; launcher.max_file allows 99"):
        unpack(tar, tmp_path / "there", 99)


def test_too_many_files_are_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST", 3)
    with pytest.raises(RunError, match="more than 3 files"):
        pack(run, {}, tmp_path / "tar", MOST)
    tar = tar_of(tmp_path / "tar", *[(tarfile.TarInfo(f"file{number}"), b"") for number in range(4)])
    with pytest.raises(RunError, match="more than 3 files"):
        unpack(tar, tmp_path / "there", MOST)


@pytest.mark.parametrize(
    "name",
    ["../out", "/etc/out", "a/../../out", "./out", "a//out", "checkpoints/../out", "", "a\nb", "run.lock", "..",
     "x/config.yaml", "checkpoints/../../out/x", "a/" * 20 + "a", "checkpoints/.../x", ".hidden\x00"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "tar", (tarfile.TarInfo(name), b"mine"))
    with pytest.raises(RunError, match="is no name of a file of a run"):
        unpack(tar, tmp_path / "there", MOST)
    assert list((tmp_path / "there").rglob("*")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tar", "there"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_regular_files_are_taken(kind: bytes, tmp_path: Path) -> None:
    entry = tarfile.TarInfo("metrics.csv")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(RunError, match="is no name of a file of a run"):
        unpack(tar_of(tmp_path / "tar", (entry, b"")), tmp_path / "there", MOST)


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "outside").mkdir()
    (there / "wandb").symlink_to(tmp_path / "outside")
    tar = tar_of(tmp_path / "tar", (tarfile.TarInfo("wandb/file"), b"mine"))
    with pytest.raises(RunError, match="is a link"):
        unpack(tar, there, MOST)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("content", [b"no tar at all" * 100, b""])
def test_a_damaged_stream_is_refused(content: bytes, run: Path, tmp_path: Path) -> None:
    tar = tmp_path / "tar"
    tar.write_bytes(content)
    with pytest.raises(RunError, match="arrived damaged"):
        unpack(tar, tmp_path / "there", MOST)


def test_a_cut_stream_replaces_no_checkpoint(run: Path, tmp_path: Path) -> None:
    tar, there = tmp_path / "tar", tmp_path / "there"
    pack(run, {}, tar, MOST)
    checkpoint(there, "last", "step 0")
    tar.write_bytes(tar.read_bytes()[:1800])  # within the second file
    with pytest.raises(RunError, match="arrived damaged"):
        unpack(tar, there, MOST)
    assert (there / "checkpoints/last.ckpt/index.json").read_text() == "step 0 index.json"
    assert [path.name for path in (there / "checkpoints").iterdir()] == ["last.ckpt"]
