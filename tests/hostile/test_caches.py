"""What was read is kept by content: edited files are read anew, mended ones too; a cache that is denied is one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lab.data import caches
from lab.data.images import annotations
from lab.data.images.annotations import build_table
from lab.data.images.fingerprint import coco_fingerprint, folder_fingerprint
from lab.errors import DataError
from lab.tasks.detection.data.coco import CocoDataset

LONG_AGO = 1_500_000_000


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(caches, "_remembered", {})
    monkeypatch.setattr(annotations, "_reported", set())


def old(path: Path) -> None:
    """Give a file the time that rsync, tar or cp -p would."""
    os.utime(path, (LONG_AGO, LONG_AGO))


def coco(root: Path, label: str = "cat") -> CocoDataset:
    """Return a dataset of two images; made where it is not there."""
    if not root.is_dir():
        (root / "images").mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (40, 30), (number, 0, 0)).save(root / "images" / f"{number}.bmp")
            old(root / "images" / f"{number}.bmp")
    images = [{"id": number, "file_name": f"{number}.bmp", "width": 40, "height": 30} for number in (1, 2)]
    box = {"category_id": 1, "bbox": [1, 2, 9, 9], "area": 81, "iscrowd": 0}
    boxes = [{"id": number, "image_id": number, **box} for number in (1, 2)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": label}]}
    (root / "a.json").write_text(json.dumps(content))
    old(root / "a.json")
    return CocoDataset(root, "a.json", "images", category_ids="contiguous")


def test_an_edited_json_of_the_same_size_and_time_is_read_anew(tmp_path: Path) -> None:
    first, second = coco(tmp_path / "d", "cat"), coco(tmp_path / "d", "dog")
    assert (first.class_names, second.class_names) == (("cat",), ("dog",))
    assert first.fingerprint() != second.fingerprint()
    assert coco(tmp_path / "d", "cat").fingerprint() == first.fingerprint()


def test_an_image_of_the_same_size_and_time_is_another_dataset(tmp_path: Path) -> None:
    before = coco(tmp_path / "d").fingerprint()
    path = tmp_path / "d" / "images" / "1.bmp"
    size = path.stat().st_size
    Image.new("RGB", (40, 30), (77, 0, 0)).save(path)
    old(path)
    assert path.stat().st_size == size
    assert coco(tmp_path / "d").fingerprint() != before


@pytest.mark.parametrize("damage", ["zeros", "missing", "denied"])
def test_an_image_that_was_unreadable_is_read_once_it_is_mended(tmp_path: Path, damage: str) -> None:
    assert len(coco(tmp_path / "d")) == 2
    path = tmp_path / "d" / "images" / "2.bmp"
    whole = path.read_bytes()
    path.unlink()
    if damage == "zeros":
        path.write_bytes(bytes(len(whole)))
    elif damage == "denied":
        path.mkdir()  # nobody can read it, root included
    if path.exists():
        old(path)
    assert len(coco(tmp_path / "d")) == 1
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.write_bytes(whole)
    old(path)
    assert len(coco(tmp_path / "d")) == 2


def test_a_reader_that_failed_is_asked_again(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is broken"):
        build_table(_rows, {"flag": str(tmp_path / "flag"), "key": "1"}, {"n": "int64"})
    (tmp_path / "flag").touch()
    assert build_table(_rows, {"flag": str(tmp_path / "flag"), "key": "1"}, {"n": "int64"})["n"][:] == [1, 2]


def _rows(flag: str, key: str):  # type: ignore[no-untyped-def]
    del key
    yield {"n": 1}
    if not Path(flag).exists():
        raise DataError("it is broken")
    yield {"n": 2}


def test_hashes_are_remembered_as_long_as_a_file_is_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file keeps its inode's time of change, which no program can set back, or it is hashed again."""
    monkeypatch.setattr(caches, "RECENT_NS", -1)
    path, files = tmp_path / "a.jpg", [("a.jpg", 3)]
    path.write_bytes(b"abc")
    hashed: list[str] = []
    hash_file = caches._hash
    monkeypatch.setattr(caches, "_hash", lambda path, whole: hashed.append(path.name) or hash_file(path, whole))  # type: ignore[func-returns-value]
    first = caches.contents(tmp_path, files)
    caches._remembered.clear()  # as another process
    assert caches.contents(tmp_path, files) == first
    assert hashed == ["a.jpg"]
    path.write_bytes(b"abd")
    old(path)
    assert caches.contents(tmp_path, files) != first
    for memory in (tmp_path / "cache" / "lab-contents").iterdir():
        memory.write_text("{}")
    caches._remembered.clear()
    assert caches.contents(tmp_path, files) != first
    assert hashed == ["a.jpg"] * 3


def test_a_file_of_this_very_moment_is_not_remembered(tmp_path: Path) -> None:
    for content in (b"abc", b"abd", b"abe"):
        (tmp_path / "a.jpg").write_bytes(content)
        assert caches.contents(tmp_path, [("a.jpg", 3)]) == [hashlib.sha256(content).hexdigest()]


def test_of_large_folders_the_ends_of_files_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "WHOLE_BELOW", 0)
    found = []
    for place in (0, 50_000, 99_999):
        content = bytearray(100_000)
        content[place] = 1
        (tmp_path / "a.jpg").write_bytes(content)
        found += caches.contents(tmp_path, [("a.jpg", len(content))])
    assert len(set(found)) == 3


@pytest.mark.parametrize("kind", ["file", "below a file", "denied"])
def test_a_cache_that_cannot_be_written_to_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import datasets

    (tmp_path / "file").touch()
    place = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "home", "denied": Path("/proc/cache")}[kind]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place)
    for act in (lambda: coco(tmp_path / "d"), lambda: folder_fingerprint(tmp_path / "d", "images", "images", None, "")):
        with pytest.raises(DataError, match="HF_DATASETS_CACHE=FOLDER names another place") as caught:
            act()
        assert "\n" not in str(caught.value)
        assert str(place) in str(caught.value)


def test_the_cache_is_found_as_datasets_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before ``datasets`` is imported its variables are read as it does."""
    monkeypatch.delitem(sys.modules, "datasets")
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches.cache_folder() == tmp_path / ".cache" / "huggingface" / "datasets"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert caches.cache_folder() == tmp_path / "x" / "huggingface" / "datasets"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "h"))
    assert caches.cache_folder() == tmp_path / "h" / "datasets"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "c"))
    assert caches.cache_folder() == tmp_path / "c"


def test_fingerprints_agree_wherever_the_folder_stands(tmp_path: Path) -> None:
    coco(tmp_path / "d")
    shutil.copytree(tmp_path / "d", tmp_path / "e")
    assert coco_fingerprint(tmp_path / "d", "a.json", "images") == coco_fingerprint(tmp_path / "e", "a.json", "images")


def _many_rows(key: str):  # type: ignore[no-untyped-def]
    del key
    for number in range(100_000):
        yield {"text": f"{number:0100d}"}


def test_a_full_disk_under_the_cache_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", disk / "cache")
        with pytest.raises(DataError, match=r"No space left on device.*HF_DATASETS_CACHE=FOLDER") as caught:
            build_table(_many_rows, {"key": "1"}, {"text": "string"})
        assert "\n" not in str(caught.value)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
