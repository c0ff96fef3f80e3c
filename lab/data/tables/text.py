"""Reads named columns of text tables (CSV, TSV and similar); every line is either read or counted as left out.

Arrow reads a clean file (no quotes or simple ones, the same number of columns in each line). Any other file is read
completely by Python's strict ``csv`` reader, which tells in which line something is wrong. For a clean file both give
the same rows. Separators are literal (see ``lab.config.separators``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from lab.config.separators import BLANKS
from lab.data.tables.columns import ReadColumns, TextLayout, places, shown
from lab.data.tables.opening import BLOCK, BlockReader
from lab.data.tables.quoting import plainly_quoted
from lab.data.tables.records import TextRecords
from lab.errors import DataError

_CELLS = 1 << 20  # values held as Python objects at once


def read_text(path: Path, wanted: dict[str, str], layout: TextLayout, where: str = "data") -> ReadColumns:
    """Read some columns of a text table.

    Args:
        path: the file; it may be compressed with gzip, bzip2, xz or zip.
        wanted: the columns' names by their role, ``{"item": "ItemId"}``.
        layout: the format of the table.
        where: the config group that names the columns, for messages.

    Returns:
        The columns as text, named by their role.

    Raises:
        DataError: it cannot be read as a table of this format.
    """
    return _TextTable(path, wanted, layout, where).read()


class _TextTable:
    """One reading of one file."""

    def __init__(self, path: Path, wanted: dict[str, str], layout: TextLayout, where: str) -> None:
        self.path, self.wanted, self.layout, self.where = path, wanted, layout, where
        self.text = TextRecords(path, layout, where)
        self.rows, self.short, self.long, self.trimmed = 0, 0, 0, 0
        self.noted: dict[str, int] = {}
        self.first_odd = ""

    def read(self) -> ReadColumns:
        """Return the columns.

        Raises:
            DataError: the file changed meanwhile; it is read more than once, so it must stay the same.
        """
        before = self.path.stat()
        found = self._read()
        after = self.path.stat()
        if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
            raise DataError(f"{self.path}: changed while it was read; wait until it is written, or read a copy")
        return found

    def _read(self) -> ReadColumns:
        quoted = self.text.scan()
        header, begins = self.text.header()
        names = list(self.layout.names) if self.layout.names is not None else header
        if self.layout.names is not None and header != names:
            begins = 0
        elif self.layout.names is not None:
            self.noted["header line that repeats the given names, not taken as a row"] = 1
        hint = f", and {self.where}.separator if it is not {self.text.separator!r}"
        if self.layout.names is not None:
            hint = f", or all columns by {self.where}.column_names"
        at = places(self.path, self.wanted, names, self.where, hint)
        table = None
        if self.text.separator != BLANKS and (not quoted or plainly_quoted(self.text.blocks(), self.text.sign[0])):
            table = self._read_clean(len(names), at, begins, quoted)
        if table is None:
            table = self._read_carefully(names, at, begins > 0)
        return self._accounted(table, names)

    def _read_clean(self, count: int, at: list[int], skip: int, quoted: bool) -> Any:
        """Return the table as Arrow reads it, or None if a line is not clean."""
        import pyarrow
        from pyarrow import csv as arrow

        names = [str(number) for number in range(count)]
        text = pyarrow.string()
        chosen = [names[place] for place in dict.fromkeys(at)]
        try:
            table = arrow.read_csv(
                pyarrow.PythonFile(io.BufferedReader(BlockReader(self.text.after(skip)), BLOCK), mode="r"),
                arrow.ReadOptions(column_names=names, block_size=BLOCK),
                arrow.ParseOptions(
                    delimiter=self.text.sign.decode(), quote_char='"' if quoted else False, double_quote=False
                ),
                arrow.ConvertOptions(
                    column_types=dict.fromkeys(chosen, text),
                    include_columns=chosen,
                    strings_can_be_null=False,
                    null_values=[],
                    check_utf8=False,  # the scan has checked it
                ),
            )
        except pyarrow.ArrowInvalid:
            return None
        self.rows = table.num_rows
        columns = [table[names[place]] for place in at]
        if quoted and self.text.sign != self.text.separator.encode():
            columns = [_replaced(column, self.text.sign.decode(), self.text.separator) for column in columns]
        return pyarrow.table(columns, names=[str(number) for number in range(len(columns))])

    def _read_carefully(self, names: Sequence[str], at: list[int], headed: bool) -> Any:
        """Read the table row by row; lines with another number of columns are counted."""
        import pyarrow

        records, blank = self.text.records(), 0
        parts: list[list[Any]] = [[] for _ in at]
        pick = [itemgetter(place) for place in at]
        skipping, size = headed, min(max(1, _CELLS // len(names)), 1 << 16)
        try:
            while chunk := list(islice(records, size)):
                if skipping:
                    first = next((place for place, row in enumerate(chunk) if any(map(str.strip, row))), len(chunk))
                    skipping = first == len(chunk)
                    blank += min(first + 1, len(chunk))
                    chunk = chunk[first + 1 :]
                whole, empty = self._whole_rows(chunk, names)
                blank += empty
                for part, get in zip(parts, pick, strict=True):
                    part.append(pyarrow.array(map(get, whole), pyarrow.string(), size=len(whole)))
        except csv.Error as error:
            raise self.text.quoting(error, records.line_num) from error
        within = records.line_num - self.rows - blank
        if within > 0:
            self.noted["line ends within quotes"] = within
        columns = [pyarrow.chunked_array(part, pyarrow.string()) for part in parts]
        for key, column in zip(self.wanted, columns, strict=True) if not self.layout.lines else ():
            self._check_lines(key, column)
        if self.layout.quotes and len(self.text.separator.encode()) > 1:
            columns = [_replaced(column, self.text.sign.decode(), self.text.separator) for column in columns]
        return pyarrow.table(columns, names=[str(number) for number in range(len(columns))])

    def _whole_rows(self, chunk: list[list[str]], names: Sequence[str]) -> tuple[list[list[str]], int]:
        """Return the rows with as many columns as names, and the number of empty lines."""
        whole, empty, count = [], 0, len(names)
        fewest = count - (not names[-1].strip() and count > len(self.wanted))  # a separator ends the header
        for row in chunk:
            if fewest <= len(row) <= count and (count > 1 or row[0].strip()):
                whole.append(row)
            elif not row or (len(row) == 1 and not row[0].strip()):
                empty += 1
                continue
            elif len(row) == count + 1 and not row[-1].strip():
                self.trimmed += 1  # a separator at the end of the line
                whole.append(row)
            else:
                self.short += len(row) < count
                self.long += len(row) > count
                self.first_odd = self.first_odd or f"row {self.rows + 1} has {len(row)}"
            self.rows += 1
        return whole, empty

    def _check_lines(self, key: str, column: Any) -> None:
        """Refuse an id or a time with a line break: an unclosed quote has swallowed lines."""
        import pyarrow.compute as pc

        over = pc.match_substring_regex(column, "[\r\n]")
        if not pc.any(over).as_py():
            return
        row = pc.index(over, True).as_py()
        value = column[row].as_py()
        shown = repr(value if len(value) < 40 else value[:40] + "...")
        raise DataError(
            f"{self.path}: the {key} of row {row + 1} holds line ends ({shown}): a quote sign that is not closed "
            f"swallows lines; if quote signs are signs like any other in this file, set {self.where}.quotes=false"
        )

    def _accounted(self, table: Any, names: Sequence[str]) -> ReadColumns:
        """Count what became of the rows.

        Raises:
            DataError: most rows have another number of columns than the header.
        """
        count, odd = len(names), self.short + self.long
        source = f"{self.where}.column_names names" if self.layout.names is not None else "its header names"
        if odd * 2 > self.rows:
            raise DataError(
                f"{self.path}: {source} {count} columns, {odd} of its {self.rows} rows have another number of them "
                f"({self.first_odd}); is {self.where}.separator={self.text.separator!r} right? "
                f"where the header lacks a name, name all columns by {self.where}.column_names"
            )
        if not self.rows:
            raise DataError(f"{self.path}: holds a header and no rows ({shown(names)})")
        left_out = {f"with fewer than {count} columns": self.short, f"with more than {count} columns": self.long}
        if self.trimmed:
            self.noted["with a separator at the end"] = self.trimmed
        table = table.rename_columns(list(self.wanted))
        if self.layout.names is not None and _headed(table):
            self.noted["first row that reads like a header, taken as a row"] = 1
        return ReadColumns(table, self.rows, {what: number for what, number in left_out.items() if number}, self.noted)


def _headed(table: Any) -> bool:
    """Return whether the first row looks like a header: its ids are words, and those of the next rows are numbers."""
    import pyarrow.compute as pc

    start = table.slice(0, 100)
    if len(start) < 2 or not {"session", "item"} <= set(table.column_names):
        return False
    numbers = [pc.match_substring_regex(start[name], r"^-?[0-9]+$").to_pylist() for name in ("session", "item")]
    return not any(found[0] for found in numbers) and all(all(found[1:]) for found in numbers)


def _replaced(column: Any, sign: str, separator: str) -> Any:
    import pyarrow.compute as pc

    return pc.replace_substring(column, sign, separator)
