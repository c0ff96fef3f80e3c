"""Reads the texts of a file: lines of a .txt, rows of a .jsonl, .csv, .tsv or Parquet file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from lab.checking import check_file
from lab.data.tables.columns import TextLayout
from lab.data.tables.opening import TextFile
from lab.data.tables.parquet import read_parquet
from lab.data.tables.text import read_text
from lab.errors import DataError

log = logging.getLogger(__name__)
LONGEST_LINE = 64 << 20
"""The longest line in bytes; a line of 10 MB is a book, a longer one no text of lines."""
TABLES = {".csv": ",", ".tsv": "\t"}
JSONL = (".jsonl", ".ndjson")


def read_texts(path: str | Path, column: str = "text") -> list[str]:
    """Return the texts of a file, in its order; lines of blanks only are no texts, and a warning counts them.

    Args:
        path: a .jsonl, .csv, .tsv or .parquet file with a column of texts; any other file has one text a line.
        column: the name of that column.

    Raises:
        DataError: the file is missing, is not UTF-8, holds no text, or lacks the column.
    """
    path = Path(path)
    check_file(path, may_be_empty=False)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        found = read_text(path, {"text": column}, TextLayout(TABLES[suffix])).table["text"].to_pylist()
    elif suffix == ".parquet":
        found = read_parquet(path, {"text": column}, "data").table["text"].to_pylist()
    elif suffix in JSONL:
        found = list(read_jsonl(path, column))
    else:
        found = list(read_lines(path))
    texts = [str(text) for text in found if text is not None and str(text).strip()]
    if not texts:
        raise DataError(f"{path}: holds no text")
    if left_out := len(found) - len(texts):
        log.warning("%s: %d empty line%s left out", path, left_out, " is" if left_out == 1 else "s are")
    return texts


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, without their ends, empty ones too; a line ends with LF, or CR and LF.

    Raises:
        DataError: the file is not UTF-8 (or what its byte order mark says), holds zero bytes, or a line is too long.
    """
    rest: list[bytes] = []
    length, number = 0, 1
    for block in TextFile(path, where="").blocks():
        if b"\0" in block:
            at = number + block[: block.index(b"\0")].count(b"\n")
            raise DataError(f"{path}: line {at} holds a zero byte (NUL); is it a text file?")
        first, *others = block.split(b"\n")
        rest.append(first)
        length += len(first)
        for line in others:
            yield b"".join(rest).removesuffix(b"\r").decode()
            rest, length, number = [line], len(line), number + 1
        if length > LONGEST_LINE:
            raise DataError(f"{path}: line {number} has more than {LONGEST_LINE >> 20} MB; break it into lines")
    if length:
        yield b"".join(rest).removesuffix(b"\r").decode()


def read_jsonl(path: Path, column: str = "text") -> Iterator[str]:
    """Yield the texts of a file with a JSON object a line.

    Raises:
        DataError: as ``read_lines``; or a line is no JSON object, or has no text in the column.
    """
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise DataError(f"{path}: line {number} is no JSON: {why[:200]}") from error
        text = row.get(column) if isinstance(row, dict) else None
        if not isinstance(text, str):
            what = f"has the columns {', '.join(map(str, row))}"[:200] if isinstance(row, dict) else "is no JSON object"
            raise DataError(f"{path}: line {number} has no text in the column {column!r}; it {what} (data.column)")
        if "\\ud" in line.lower() and any("\ud800" <= sign <= "\udfff" for sign in text):
            raise DataError(f"{path}: line {number} holds half a character (a lone surrogate such as \\ud800)")
        yield text
