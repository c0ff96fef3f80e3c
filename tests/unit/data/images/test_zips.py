"""Zips that are read in place: what is found in them, and what hostile ones come to."""

from __future__ import annotations

import hashlib
import io
import logging
import multiprocessing
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from lab.data.images.opening import ImageFileError, read_image
from lab.data.images.stores import FolderStore, open_store
from lab.data.images.zips import ZipStore
from lab.errors import DataError
from lab.system.files import archive_in
from tests.data_factory import make_image


def picture(number: int = 0) -> bytes:
    file = io.BytesIO()
    make_image(8, 9, number).save(file, "PNG")
    return file.getvalue()


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_read(tmp_path: Path, method: int) -> None:
    files = {"cat/1.png": picture(1), "cat/2.PNG": picture(2), "dog/3.png": picture(3), "notes.txt": b"x"}
    store = ZipStore(zipped(tmp_path / "a.zip", files, method))
    assert store.names() == ["cat/1.png", "cat/2.PNG", "dog/3.png"]
    assert store.folders() == ["cat", "dog"]
    assert store.source("dog/3.png") == files["dog/3.png"]
    assert np.array_equal(read_image(store.source("cat/1.png")), make_image(8, 9, 1))
    assert store.look("cat/2.PNG") == ("cat/2.PNG", (8, 9), "")


@pytest.mark.parametrize(
    ("names", "inside", "found"),
    [
        (["top/train/cat/1.png", "top/train/dog/1.png", "top/readme.txt"], "", ["cat/1.png", "dog/1.png"]),
        (["train/cat/1.png", "val/cat/1.png"], "val", ["cat/1.png"]),
        (["top/train/cat/1.png", "top/val/cat/1.png"], "val", ["cat/1.png"]),
        (["top/train/cat/1.png", "top/val/cat/1.png"], "top/val", ["cat/1.png"]),
        (["train/cat/1.png", "train/cat/2.png"], "", ["cat/1.png", "cat/2.png"]),
        (["train/cat/1.png", "train/stray.png"], "", ["cat/1.png", "stray.png"]),
        (["cat/1.png", "__MACOSX/cat/._1.png", "dog/.hidden/1.png", "dog/1.png"], "", ["cat/1.png", "dog/1.png"]),
    ],
)
def test_folders_at_the_top(tmp_path: Path, names: list[str], inside: str, found: list[str]) -> None:
    zipped(tmp_path / "a.zip", dict.fromkeys(names, picture()))
    assert open_store(tmp_path / "a.zip" / inside, tmp_path, "").names() == found


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"train/cat/1.png": picture(), "valid/cat/1.png": picture()})
    with pytest.raises(DataError, match=r"a\.zip: there is no folder 'val' in it, it has train, valid"):
        open_store(tmp_path / "a.zip" / "val", tmp_path, "")
    with pytest.raises(DataError, match=r"no folder .*b\.zip"):
        open_store(tmp_path / "b.zip", tmp_path, "")


def test_paths_that_go_on_inside_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    assert archive_in(tmp_path / "a.zip" / "b" / "c") == (tmp_path / "a.zip", "b/c")
    assert archive_in(tmp_path / "a.zip") == (tmp_path / "a.zip", "")
    assert archive_in(tmp_path) is archive_in(tmp_path / "b.zip" / "c") is None


def test_names_that_lead_out_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = ["../../cat/1.png", "/etc/cat/2.png", "cat/../../3.png", "C:\\cat\\4.png"]
    zipped(tmp_path / "a.zip", dict.fromkeys([*bad, "cat/1.png", "dog/1.png"], picture()))
    with caplog.at_level(logging.WARNING):
        store = ZipStore(tmp_path / "a.zip")
    assert store.names() == ["cat/1.png", "dog/1.png"]
    assert "a.zip: names that lead out of it or are none, left out: 4 (../../cat/1.png, /etc/cat/2.png, " in caplog.text


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_taken_once_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in (1, 2):
            archive.writestr("cat/1.png", picture(number))
    with caplog.at_level(logging.WARNING):
        store = ZipStore(tmp_path / "a.zip")
    assert store.names() == ["cat/1.png"]
    assert store.source("cat/1.png") == picture(2)
    assert "a.zip: names that it holds several times, the last taken: cat/1.png" in caplog.text


def _encrypted(path: Path) -> None:
    """Set the bit that says so in both headers of the only member."""
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(bytes(content))


def _claims(path: Path, size: int) -> None:
    """Let the only member claim ``size`` bytes when unpacked."""
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(mark) + place, size)
    path.write_bytes(bytes(content))


def _method(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", content, content.index(mark) + place, 99)
    path.write_bytes(bytes(content))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_encrypted, "encrypted: pack it without a password"),
        (lambda path: _claims(path, 1 << 30), "1,073,741,824 bytes when unpacked, more than the 536,870,912"),
        (_method, "packed by a method that is not read"),
        (_flip, "damaged in the archive: "),
    ],
)
def test_members_that_cannot_be_read(tmp_path: Path, spoil: object, says: str) -> None:
    path = zipped(tmp_path / "a.zip", {"cat/1.png": picture()})
    spoil(path)  # type: ignore[operator]
    store = ZipStore(path)
    with pytest.raises(ImageFileError, match=says):
        store.source("cat/1.png")
    assert store.look("cat/1.png")[2].startswith(says)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("cat/1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ImageFileError, match="a link, which is not followed in an archive"):
        ZipStore(tmp_path / "a.zip").source("cat/1.png")


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A member that claims little and unpacks to much is cut at what it claims, and its checksum is wrong."""
    path = zipped(tmp_path / "a.zip", {"cat/1.png": bytes(1 << 22)})
    _claims(path, 1000)
    with pytest.raises(ImageFileError, match="damaged in the archive: Bad CRC-32"):
        ZipStore(path).source("cat/1.png")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"a\.zip: it cannot be read as a zip, or it is cut: File is not a zip file"),
        (b"<html>not found</html>", r"a\.zip: it cannot be read as a zip, or it is cut"),
        (b"PK\x03\x04" + bytes(40), r"a\.zip: it cannot be read as a zip, or it is cut"),
        (None, r"a\.zip: it cannot be read as a zip, or it is cut"),
    ],
)
def test_what_is_no_zip(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = zipped(tmp_path / "a.zip", {f"cat/{row}.png": picture(row) for row in range(9)})
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    with pytest.raises(DataError, match=says):
        ZipStore(path)


def test_zips_in_a_zip_are_named(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "cat.zip", {"1.png": picture()}).read_bytes()
    zipped(tmp_path / "a.zip", {"cat.zip": inner, "dog.zip": inner})
    with pytest.raises(DataError, match=r"no image in it; archives in it are not opened \(cat\.zip, dog\.zip\)"):
        ZipStore(tmp_path / "a.zip")


def test_what_is_known_of_its_content(tmp_path: Path) -> None:
    """Another pixel, another name: another hash. Where the file lies does not matter."""

    def key(path: Path) -> str:
        digest = hashlib.sha256()
        ZipStore(path).add_to(digest)
        return digest.hexdigest()

    one = zipped(tmp_path / "a.zip", {"cat/1.png": picture(1)})
    (tmp_path / "b").mkdir()
    same = tmp_path / "b" / "c.zip"
    same.write_bytes(one.read_bytes())
    assert key(one) == key(same)
    assert key(one) != key(zipped(tmp_path / "d.zip", {"cat/1.png": picture(2)}))
    assert key(one) != key(zipped(tmp_path / "e.zip", {"dog/1.png": picture(1)}))


def _read_all(store: ZipStore, times: int, queue: object) -> None:
    found = [bytes(store.source(name)) for _ in range(times) for name in store.names()]
    queue.put((os.getpid(), hash(tuple(found[: len(store.names())])), len(set(found))))  # type: ignore[attr-defined]


def test_each_process_has_a_handle_of_its_own(tmp_path: Path) -> None:
    """Forked processes that read at once would move each other's position in one shared file."""
    store = ZipStore(zipped(tmp_path / "a.zip", {f"cat/{row}.png": picture(row) for row in range(20)}))
    store.source("cat/0.png")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_read_all, args=(store, 20, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({pid for pid, _, _ in found}) == 3
    assert {(seen, count) for _, seen, count in found} == {(found[0][1], 20)}
    again = pickle.loads(pickle.dumps(store))  # as a spawned worker gets it
    assert again.source("cat/3.png") == store.source("cat/3.png")


def test_a_folder_is_read_likewise(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(picture())
    (tmp_path / "dog").mkdir()
    store = open_store(tmp_path, tmp_path, "")
    assert isinstance(store, FolderStore)
    assert (store.names(), store.folders()) == (["cat/1.png"], ["cat", "dog"])
    assert store.look("cat/1.png") == ("cat/1.png", (8, 9), "")
