"""Documents to train on, read piece by piece, so that a corpus and each of its documents may be larger than memory.

A piece is some 32,000 characters, cut before a blank that follows a letter or a digit: there no token of WordPiece or
of byte-level BPE spans both sides, so pieces give the tokens of the whole. A run of other signs of twice that length is
cut anywhere.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.checking import check_choice, check_file
from lab.data.caches import contents
from lab.data.folders import list_files
from lab.data.hub import load_splits
from lab.data.tables.opening import TextFile
from lab.data.text.generated import document
from lab.data.text.lines import JSONL, read_jsonl, read_lines
from lab.errors import DataError, closest

if TYPE_CHECKING:
    from datasets import Dataset

PIECE = 1 << 15
"""The characters of a piece."""
BREAKS = ("file", "blank_line", "line")
"""Where documents of a text file end."""
TEXTS = frozenset({".txt", ".text", ".md", ".raw", ".tokens", *JSONL, ".gz", ".bz2", ".xz"})
"""The suffixes of files that are read in a folder."""
PACKED = (".gz", ".bz2", ".xz")

Break = Literal["file", "blank_line", "line"]
TextPiece = tuple[str, bool]
"""A part of a document, and whether the document ends with it."""
_PLACE = re.compile(r"\w(?=\s)")


class Documents(ABC):
    """A corpus. Iterating over it gives its documents' texts in pieces; it can be iterated any number of times.

    Attributes:
        name: what it is, for messages.
        size: about how many bytes it has, for a progress bar; 0 where that is not known.
    """

    name: str
    size: int = 0

    @abstractmethod
    def pieces(self) -> Iterator[TextPiece]:
        """Yield the pieces of all documents in order.

        Raises:
            DataError: a file cannot be read, or holds no text.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a string that differs for different texts."""

    def __iter__(self) -> Iterator[str]:
        for text, _ in self.pieces():
            yield text


@dataclass(frozen=True)
class FileDocuments(Documents):
    """Documents of files.

    Attributes:
        paths: .jsonl files, of which each row is a document; any other file is text. Packed files are unpacked.
        column: the column of a .jsonl with the text.
        ends: where documents of text end: ``"file"``, ``"blank_line"`` or ``"line"``.
    """

    paths: tuple[Path, ...]
    column: str = "text"
    ends: Break = "file"

    def __post_init__(self) -> None:
        check_choice("data.document_ends", self.ends, BREAKS)
        for path in self.paths:
            check_file(path, may_be_empty=False)

    @property
    def name(self) -> str:  # type: ignore[override]  # a property may stand for an attribute that is only read
        """The first file, and how many others there are."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}"

    @property
    def size(self) -> int:  # type: ignore[override]
        """The bytes of all files."""
        return sum(path.stat().st_size for path in self.paths)

    def pieces(self) -> Iterator[TextPiece]:
        """Yield the pieces of all documents; see ``Documents.pieces``."""
        for path in self.paths:
            yield from cut(self._parts(path))

    def _parts(self, path: Path) -> Iterator[TextPiece]:
        """Yield parts of the documents of a file, of any length."""
        plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
        if plain.suffix.lower() in JSONL:
            yield from ((text, True) for text in read_jsonl(path, self.column))
        elif self.ends == "line":
            yield from ((line, True) for line in read_lines(path) if line.strip())
        elif self.ends == "blank_line":
            yield from _paragraphs(read_lines(path))
        else:
            yield from ((block, False) for block in _blocks(path))
            yield "", True

    def fingerprint(self) -> str:
        """Return a hash of the files' contents and of how they are read."""
        paths = [path.resolve() for path in self.paths]
        found = contents(Path("/"), [(str(path).lstrip("/"), path.stat().st_size) for path in paths])
        names = [path.suffix for path in paths]
        return hashlib.sha256(repr((found, names, self.column, self.ends)).encode()).hexdigest()


@dataclass(frozen=True)
class HubDocuments(Documents):
    """Documents of a split of a dataset that Hugging Face's ``datasets`` reads; each row is one.

    Attributes:
        dataset: its name at the Hub, or a folder.
        subset: its configuration; None: the only one.
        split: the split.
        column: the column with the text.
    """

    dataset: str
    subset: str | None
    split: str
    column: str = "text"

    @property
    def name(self) -> str:  # type: ignore[override]
        """The dataset and its split."""
        return f"data.path={self.dataset}, split {self.split}"

    def pieces(self) -> Iterator[TextPiece]:
        """Yield the pieces of all documents; see ``Documents.pieces``."""
        batches = self._table().select_columns([self.column]).iter(batch_size=1000)
        yield from cut((text or "", True) for batch in batches for text in batch[self.column])

    def _table(self) -> Dataset:
        splits = load_splits(self.dataset, self.subset)
        if self.split not in splits:
            raise DataError(
                f"data.path={self.dataset}: it has no split {self.split!r}, only {', '.join(splits)}"
                f"{closest(self.split, splits)}; data.train_split, val_split and test_split name them"
            )
        table = splits[self.split]
        feature = table.features.get(self.column)
        if getattr(feature, "dtype", "") not in ("string", "large_string"):
            raise DataError(
                f"data.path={self.dataset}: it has no column of texts {self.column!r} (data.column), only "
                f"{', '.join(table.column_names)}{closest(self.column, table.column_names)}"
            )
        return table

    def fingerprint(self) -> str:
        """Return a hash of the contents of the dataset's files, its size and the column."""
        table = self._table()
        paths = [Path(entry["filename"]).resolve() for entry in table.cache_files]
        found = contents(Path("/"), [(str(path).lstrip("/"), path.stat().st_size) for path in paths])
        return hashlib.sha256(repr((found, self.split, len(table), self.column)).encode()).hexdigest()


@dataclass(frozen=True)
class GeneratedDocuments(Documents):
    """Documents of ``lab.data.text.generated``.

    Attributes:
        seed: decides the words.
        first: the number of the first document.
        count: the number of documents.
    """

    seed: int
    first: int
    count: int
    name = "generated text"

    def pieces(self) -> Iterator[TextPiece]:
        """Yield each document as one piece."""
        for number in range(self.first, self.first + self.count):
            yield " ".join(document(self.seed, number)), True

    def fingerprint(self) -> str:
        """Return a hash of the numbers, and of the first document for a change of the grammar."""
        first = document(self.seed, self.first)
        return hashlib.sha256(repr((self.seed, self.first, self.count, first)).encode()).hexdigest()


@dataclass(frozen=True)
class PartOfDocuments(Documents):
    """Consecutive characters of other documents.

    Attributes:
        whole: the documents.
        begin: the first character.
        end: one past the last character.
        total: the characters of all documents.
    """

    whole: Documents
    begin: int
    end: int
    total: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the documents."""
        return self.whole.name

    @property
    def size(self) -> int:  # type: ignore[override]
        """The part's share of the bytes."""
        return self.whole.size * (self.end - self.begin) // max(1, self.total)

    def pieces(self) -> Iterator[TextPiece]:
        """Yield the pieces within the part; the documents that its borders cut begin or end there."""
        place = 0
        for text, ends in self.whole.pieces():
            first, place = place, place + len(text)
            if place <= self.begin:
                continue
            kept = text[max(0, self.begin - first) : self.end - first]
            yield kept, ends or place >= self.end
            if place >= self.end:
                return

    def fingerprint(self) -> str:
        """Return a hash of the documents' fingerprint and the borders."""
        return hashlib.sha256(repr((self.whole.fingerprint(), self.begin, self.end)).encode()).hexdigest()


def cut(parts: Iterable[TextPiece], length: int = PIECE) -> Iterator[TextPiece]:
    """Yield documents in pieces of about ``length`` characters, of parts of any length.

    An empty document is ``("", True)``.
    """
    waiting: list[str] = []
    held = 0
    for text, ends in parts:
        waiting.append(text)
        held += len(text)
        if held > 2 * length or (ends and held > length):
            joined = "".join(waiting)
            place = 0
            while len(joined) - place > length:
                at = _before_blank(joined, place + length)
                if at is None:
                    if len(joined) - place <= 2 * length:
                        break
                    at = place + length
                yield joined[place:at], False
                place = at
            waiting, held = [joined[place:]], len(joined) - place
        if ends:
            yield "".join(waiting), True
            waiting, held = [], 0


def _before_blank(text: str, start: int) -> int | None:
    """Return the first place from ``start`` where a letter or digit is followed by a blank, within a piece's length."""
    found = _PLACE.search(text, start - 1, start + PIECE)
    return None if found is None else found.end()


def _paragraphs(lines: Iterable[str]) -> Iterator[TextPiece]:
    between = ""
    for line in lines:
        if line.strip():
            yield between + line, False
            between = "\n"
        elif between:
            yield "", True
            between = ""
    if between:
        yield "", True


def _blocks(path: Path) -> Iterator[str]:
    """Yield the text of a file as it is, with LF at the ends of lines."""
    held, number = b"", 1
    for block in TextFile(path, where="").blocks():  # each of whole characters
        if b"\0" in block:
            at = number + block[: block.index(b"\0")].count(b"\n")
            raise DataError(f"{path}: line {at} holds a zero byte (NUL); is it a text file?")
        number += block.count(b"\n")
        whole = held + block
        held = b"\r" if whole.endswith(b"\r") else b""
        yield whole[: len(whole) - len(held)].decode().replace("\r\n", "\n")
    yield held.decode()


@dataclass(frozen=True)
class Extent:
    """The length of a corpus.

    Attributes:
        characters: of all documents.
        ends: where each document ends; documents without text are left out.
        empty: the number of documents without text.
    """

    characters: int
    ends: Sequence[int]
    empty: int


def measure(documents: Documents) -> Extent:
    """Return the length of a corpus; it is read once for this.

    Raises:
        DataError: there is no text.
    """
    total, begun, empty, ends = 0, 0, 0, array("q")
    for text, last in documents.pieces():
        total += len(text)
        if last and total > begun:
            ends.append(total)
        elif last:
            empty += 1
        begun = total if last else begun
    if not total:
        raise DataError(f"{documents.name}: there is no text in it")
    return Extent(total, ends, empty)


def find_texts(names: str | Sequence[str], root: str | None = None, key: str = "data.files") -> tuple[Path, ...]:
    """Return the files of names.

    Args:
        names: files, folders (all texts below, sorted) and patterns with ``*``.
        root: the folder in which relative names are; None: the current one.
        key: the key that gives the names, for messages.

    Raises:
        DataError: there is no such file, or no text in a folder.
    """
    found: list[Path] = []
    for name in [names] if isinstance(names, str) else names:
        path = Path(root or "", os.path.expanduser(name))  # noqa: PTH111 - a pattern is no path
        if path.is_dir():
            inside = [path / file for file, _ in list_files(path, TEXTS)]
            if not inside:
                raise DataError(f"{key}={name}: the folder holds no text ({', '.join(sorted(TEXTS))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute
            if not any(match.is_file() for match in matches):
                raise DataError(f"{key}={name}: no such file or folder{f' in {root}' if root else ''}")
            found += [match for match in matches if match.is_file()]
    if not found:
        raise DataError(f"{key} names no file")
    if len(set(found)) < len(found):
        raise DataError(f"{key} names a file twice: {next(path for path in found if found.count(path) > 1)}")
    return tuple(found)
