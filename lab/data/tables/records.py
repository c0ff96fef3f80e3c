"""Splits a text into records: lines, separators of several characters, quotes, a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.config.separators import BLANKS, normalize_separator
from lab.data.memory import require_memory
from lab.data.tables.columns import TextLayout
from lab.data.tables.lines import LONGEST_LINE, Blanks, line_end
from lab.data.tables.opening import BLOCK, BlockReader, TextFile
from lab.errors import DataError

_STAND_INS = [bytes([code]) for code in (0x1F, 0x1E, 0x1D, 0x1C, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01)]


class TextRecords:
    """The text of one file; call ``scan`` first.

    Attributes:
        separator: the literal separator between columns; ``BLANKS`` for any run of blanks.
        sign: the one byte that replaces it in ``blocks``.
    """

    def __init__(self, path: Path, layout: TextLayout, where: str) -> None:
        self.path, self.layout, self.where = path, layout, where
        self.separator = normalize_separator(layout.separator, f"{where}.separator")
        self.sign = self.separator.encode()
        self.file = TextFile(path, layout.encoding, where)

    def scan(self) -> bool:
        """Read all of the text and choose a byte for its separator; return whether quotes occur after the first line.

        Raises:
            DataError: it is empty, or not text.
        """
        quoted, used, first, any_text, total = False, b"", True, False, 0
        for block in self.file.blocks():
            total += len(block)
            any_text = any_text or bool(block.strip())
            used = bytes(sorted({*used, *(sign[0] for sign in _STAND_INS if sign in block)}))
            body = block
            if first and any_text:
                line = block.lstrip(b"\r\n")
                ends = [place for place in (line.find(b"\n"), line.find(b"\r")) if place >= 0]
                # a quote may hold a line end: only a line of whole quotes is known to be a line
                if ends and self.layout.names is None and line[: min(ends)].count(b'"') % 2 == 0:
                    body = line[min(ends) :]
                first = False
            quoted = quoted or (self.layout.quotes and b'"' in body)
        if not any_text:
            raise DataError(f"{self.path}: is empty")
        require_memory(self.path, total, f"its {total} bytes of text")
        if len(self.sign) > 1 and self.separator != BLANKS:
            free = next((sign for sign in _STAND_INS if sign[0] not in used), None)
            if free is None:
                raise DataError(f"{self.path}: is no text: it is full of control signs")
            self.sign = free
        return quoted

    def blocks(self) -> Iterator[bytes]:
        """Yield the text, its separator of several bytes replaced by one that the text does not hold."""
        if self.separator == BLANKS or self.sign == self.separator.encode():
            yield from self.file.blocks()
            return
        separator, carried = self.separator.encode(), b""
        for block in self.file.blocks():
            text = (carried + block).replace(separator, self.sign)
            keep = next((size for size in range(len(separator) - 1, 0, -1) if text.endswith(separator[:size])), 0)
            carried = text[len(text) - keep :]
            yield text[: len(text) - keep]
        yield carried

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text, with their ends.

        Raises:
            DataError: a line is too long for a table.
        """
        raw = io.BufferedReader(BlockReader(self.blocks()), BLOCK)
        readline, number = io.TextIOWrapper(raw, encoding="utf-8", newline="").readline, 0
        while line := readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise DataError(f"{self.path}: line {number} has more than {LONGEST_LINE} signs: is it a table?")
            yield line

    def records(self) -> Any:
        """Return an iterator over lists of values, with ``line_num``."""
        if self.separator == BLANKS:
            return Blanks(self.lines())
        sign = self.sign.decode()
        if not self.layout.quotes:
            return csv.reader(self.lines(), delimiter=sign, strict=True, quoting=csv.QUOTE_NONE, quotechar=None)
        return csv.reader(self.lines(), delimiter=sign, strict=True)

    def header(self) -> tuple[list[str], int]:
        """Return the first record, and the number of lines of it and of the empty lines before it."""
        records = self.records()
        try:
            for record in records:
                if any("\0" in value for value in record):
                    raise DataError(f"{self.path}: is no text: its first line holds zero bytes")
                if any(value.strip() for value in record):
                    return [self.own(value).strip() for value in record], records.line_num
        except csv.Error as error:
            raise self.quoting(error, records.line_num) from error
        raise DataError(f"{self.path}: is empty")

    def own(self, value: str) -> str:
        """Return a value with the original separator restored where quotes protected it."""
        return value if self.separator == BLANKS else value.replace(self.sign.decode(), self.separator)

    def after(self, lines: int) -> Iterator[bytes]:
        """Yield the text after some lines; lines end with LF, CR or both."""
        blocks, rest = self.blocks(), b""
        for block in blocks:
            rest += block
            while lines and (found := line_end(rest)):
                rest, lines = rest[found:], lines - 1
            if not lines:
                break
        else:
            return
        yield rest
        yield from blocks

    def quoting(self, error: csv.Error, line: int) -> DataError:
        """Return the error for wrong quotes in a line."""
        what = str(error)
        if "field limit" in what and not self.layout.quotes:
            most = csv.field_size_limit()
            return DataError(
                f"{self.path}: line {line}: a value of more than {most} signs; longer texts go into .jsonl"
            )
        if "field limit" in what:
            what = (
                f"a value of more than {csv.field_size_limit()} signs: a quote sign that is not closed swallows lines"
            )
        elif "end of data" in what:
            what = "a quote sign is not closed and swallows the lines after it"
        return DataError(
            f"{self.path}: line {line}: {what}; if quote signs are signs like any other in this file, set "
            f"{self.where}.quotes=false"
        )
