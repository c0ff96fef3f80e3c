"""Reads a table's file as UTF-8, block by block; it is decompressed and decoded on the way.

The first bytes of a file decide what it is, not its name. The encoding follows from a byte order mark; it is UTF-16 if
every other byte is zero, and UTF-8 otherwise. It is never guessed from letters, since these fit many encodings.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lab.checking import check_file
from lab.data.text_files import MARKS, NOT_FOR_FILES, WIDER
from lab.errors import ConfigError, DataError

BLOCK = 4 << 20
PARQUET = b"PAR1\x15"
"""Parquet's magic bytes and the byte after them: a text header may begin with PAR1 too."""

_PACKED: dict[re.Pattern[bytes], Any] = {
    re.compile(rb"\x1f\x8b"): gzip.GzipFile,
    re.compile(rb"BZh\d1AY&SY"): bz2.BZ2File,
    re.compile(rb"\xfd7zXZ\0"): lzma.LZMAFile,
}
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "is packed by zstd: unpack it",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive: unpack it",
    b"Rar!\x1a\x07": "is a rar archive: unpack it",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook: save it as CSV or Parquet",
    b"ARROW1\0\0": "is an Arrow (Feather) file: save it as Parquet or CSV",
    b"SQLite format 3\0": "is an SQLite database: export the table as CSV",
    b"\x89HDF": "is an HDF5 file: export the table as CSV or Parquet",
    b"\x80\x04": "is a pickle, which is never opened: save it as CSV or Parquet",
    b"\x80\x05": "is a pickle, which is never opened: save it as CSV or Parquet",
}


def first_bytes(path: Path, count: int = 64) -> bytes:
    """Return the first bytes of a file.

    Raises:
        DataError: it cannot be read.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def open_bytes(path: Path) -> IO[bytes]:
    """Open a text file; a compressed file is decompressed.

    Raises:
        DataError: it is not text, is an archive of several files, or cannot be read.
    """
    start = first_bytes(path)
    for mark, what in _FOREIGN.items():
        if start.startswith(mark):
            raise DataError(f"{path}: {what}")
    for pattern, packed in _PACKED.items():
        if pattern.match(start):
            opened: IO[bytes] = packed(path)
            return opened
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _open_zip(path)
    return path.open("rb")


def _open_zip(path: Path) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(path)
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if any(name.startswith("xl/") for name in names):
            raise DataError(f"{path}: is an Excel workbook: save it as CSV or Parquet")
        if len(names) != 1:
            raise DataError(f"{path}: is a zip archive of {len(names)} files: unpack it and name one of them")
        return archive.open(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}") from error


class TextFile:
    """A text file as blocks of UTF-8.

    Args:
        path: the file.
        encoding: Python's name of the encoding; None detects it from the file.
        where: the config group with a key ``encoding``, for messages; ``""``: there is none.

    Raises:
        ConfigError: there is no such encoding.
        DataError: the file is not text.
    """

    def __init__(self, path: Path, encoding: str | None = None, where: str = "data") -> None:
        self.path, self.where = path, where
        self.declared = encoding
        if encoding is not None:
            try:
                "".encode(encoding)
                known = codecs.lookup(encoding).name not in NOT_FOR_FILES
            except LookupError:
                known = False
            if not known:
                raise ConfigError(
                    f"{where}.encoding={encoding!r} is no encoding: utf-8, utf-16, gb18030, shift_jis, cp1252 are some"
                )
        with self._guard(), open_bytes(path) as file:
            start = file.read(4096)
        self.encoding, self.skip = self._encoding(start)

    def _encoding(self, start: bytes) -> tuple[str, int]:
        """Return the encoding and the length of the mark that names it."""
        for mark, name in MARKS:
            if start.startswith(mark) and self.declared is None:
                return name, len(mark)
        if self.declared is not None:
            name = codecs.lookup(self.declared).name
            for mark, marked in MARKS:
                if start.startswith(mark) and marked.startswith(name.removesuffix("-sig")):
                    return marked, len(mark)
            return name, 0
        if b"\0" not in start:
            return "utf-8", 0
        even, odd = start[0::2].count(0), start[1::2].count(0)
        if odd > 0.4 * len(start) and not even:
            return "utf-16-le", 0
        if even > 0.4 * len(start) and not odd:
            return "utf-16-be", 0
        return "utf-8", 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the text as UTF-8, without the byte order mark; bytes that are not UTF-8 are found here.

        Raises:
            DataError: bytes do not fit the encoding, or the file is damaged.
        """
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        plain = self.encoding == "utf-8"
        line = 1
        with self._guard(), open_bytes(self.path) as file:
            file.read(self.skip)
            while True:
                block = file.read(BLOCK)
                try:
                    if plain and block.isascii() and not decoder.getstate()[0]:
                        yield from ([block] if block else [])
                    elif text := decoder.decode(block, final=not block):
                        yield text.encode()
                except UnicodeError as error:
                    raise self._undecodable(error, line, block) from error
                if not block:
                    return
                line += block.count(b"\n")

    def _undecodable(self, error: UnicodeError, line: int, block: bytes) -> DataError:
        at = line + (block[: error.start].count(b"\n") if isinstance(error, UnicodeDecodeError) else 0)
        if not self.where:
            return DataError(f"{self.path}: line {at} is not {self.encoding.upper()}; save it as UTF-8")
        if self.declared is None:
            what = f"{self.encoding.upper()}, which it is read as; name its encoding by {self.where}.encoding"
            return DataError(f"{self.path}: line {at} is not {what}: gb18030, shift_jis or cp1252, for instance")
        wider = WIDER.get(self.encoding)
        other = f"{wider} holds more signs" if wider else "name the right one"
        return DataError(f"{self.path}: line {at} is not {self.where}.encoding={self.declared}; {other}")

    def _guard(self) -> _Guard:
        return _Guard(self.path)


class _Guard:
    """Turns the errors of a damaged file into a ``DataError`` of one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise a ``DataError`` that names the file."""
        if isinstance(error, (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)) or (
            error is not None and type(error).__name__ == "error"  # zlib's
        ):
            raise DataError(f"{self.path}: cannot be read: {error or type(error).__name__}") from error


class BlockReader(io.RawIOBase):
    """A file object made of blocks, for readers that need a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the stubs want a Buffer
        """Fill ``buffer``, partly at the end of a block; return the number of bytes, 0 at the end of the file."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
