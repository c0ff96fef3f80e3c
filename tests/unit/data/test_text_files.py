"""Text files of any editor: a mark, a declaration, UTF-8, or one clear line."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.data.text_files import read_text
from lab.errors import DataError

CAT = "猫 chat\nété\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_with_and_without_a_mark(tmp_path: Path, encoding: str) -> None:
    text = "ab" + CAT  # without a mark the first letters tell
    (tmp_path / "list.txt").write_bytes(text.encode(encoding))
    assert read_text(tmp_path / "list.txt") == text


def test_big_endian_marks(tmp_path: Path) -> None:
    for mark, encoding in ((b"\xfe\xff", "utf-16-be"), (b"\x00\x00\xfe\xff", "utf-32-be")):
        (tmp_path / "list.txt").write_bytes(mark + CAT.encode(encoding))
        assert read_text(tmp_path / "list.txt") == CAT


@pytest.mark.parametrize("encoding", ["gbk", "GB2312", "gb18030", "Shift_JIS", "big5", "euc-jp", "euc-kr", "utf-8"])
def test_declared_encodings(tmp_path: Path, encoding: str) -> None:
    name = "한" if encoding == "euc-kr" else "山"
    text = f'<?xml version="1.0" encoding="{encoding}"?><name>{name}</name>'
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert ElementTree.fromstring(read_text(tmp_path / "a.xml")).text == name


def test_latin_1_declared_with_single_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes("<?xml version='1.0' encoding='ISO-8859-1'?><n>é</n>".encode("latin-1"))
    assert ElementTree.fromstring(read_text(tmp_path / "a.xml")).text == "é"


def test_a_letter_of_gbk_in_a_file_declared_gb2312(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes('<?xml version="1.0" encoding="gb2312"?><n>鎔</n>'.encode("gbk"))
    assert "鎔" in read_text(tmp_path / "a.xml")


@pytest.mark.parametrize("encoding", ["ansi", "utf-16", "base64", "zlib", "rot13", "unicode_escape", "utf-7", "x"])
def test_a_declaration_that_cannot_be_means_utf_8(tmp_path: Path, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><n>猫\\x41</n>'
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    assert ElementTree.fromstring(read_text(tmp_path / "a.xml")).text == "猫\\x41"


def test_a_mark_is_stronger_than_a_declaration(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="gbk"?><n>猫</n>'
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.xml").write_bytes(text.encode(encoding))
        assert read_text(tmp_path / "a.xml") == text


def test_ends_of_lines(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "list.txt") == "a\nb\nc\n"
    (tmp_path / "list.txt").write_bytes(b"")
    assert read_text(tmp_path / "list.txt") == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("猫狗".encode("gbk"), "should be UTF-8"),
        (b"\xff\xfea", "starts as UTF-16-LE"),
        (b'<?xml version="1.0" encoding="shift_jis"?><n>\x81 </n>', "declares SHIFT_JIS"),
        (b"ab\0c", "zero bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "should be UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_text(tmp_path / "list.txt")
    assert "\n" not in str(caught.value)
    assert "list.txt" in str(caught.value)


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match="no regular file"):
        read_text(tmp_path / "pipe.txt")
