"""Reads texts with labels from TSV, CSV, JSON Lines and Parquet files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.checking import check_file
from lab.data.tables.columns import TextLayout, places
from lab.data.tables.opening import PARQUET, first_bytes
from lab.data.tables.parquet import read_parquet
from lab.data.tables.text import read_text
from lab.data.text.lines import JSONL, TABLES, read_lines, read_texts
from lab.errors import DataError

Cells = dict[str, list[Any]]
"""The values of the columns ``text``, ``second`` and ``label``, as far as they are wanted."""


@dataclass(frozen=True)
class TextFormat:
    r"""The format of files of texts.

    Attributes:
        text_column: the column of texts.
        second_column: the column of the second text of each pair; None: there are no pairs.
        label_column: the column of labels.
        separator: between columns; None: a tab in .tsv, a comma in .csv.
        column_names: the columns' names, if the files have no header.
        quotes: whether values may be quoted with ``"``; None: in .csv alone.
        encoding: Python's name of the encoding; None: UTF-8, or what a byte order mark says.
    """

    text_column: str = "text"
    second_column: str | None = None
    label_column: str = "label"
    separator: str | None = None
    column_names: Sequence[str] | None = None
    quotes: bool | None = None
    encoding: str | None = None

    def wanted(self, labelled: bool) -> dict[str, str]:
        """Return the columns' names by their role."""
        found = {"text": self.text_column}
        if self.second_column is not None:
            found["second"] = self.second_column
        return {**found, "label": self.label_column} if labelled else found


@dataclass(frozen=True)
class TextRows:
    """Texts before they are encoded.

    Attributes:
        source: the file, or what else they are from, for messages.
        texts: the first or only text of each sample.
        seconds: the second one of pairs; None: there are no pairs.
        labels: the label of each as the source has it; empty where there are none.
        rows: the rows that were read.
        left_out: how many of them are not used, by reason.
        classes: all labels in their order, where the source tells it; empty: that of their numbers or letters.
    """

    source: str
    texts: Sequence[str]
    seconds: Sequence[str] | None = None
    labels: Sequence[str] = ()
    rows: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def take(self, chosen: Sequence[int]) -> TextRows:
        """Return some of the texts."""
        seconds = None if self.seconds is None else [self.seconds[row] for row in chosen]
        labels = [self.labels[row] for row in chosen] if self.labels else ()
        return replace(self, texts=[self.texts[row] for row in chosen], seconds=seconds, labels=labels)


def read_rows(path: Path, layout: TextFormat) -> TextRows:
    """Read labelled texts. Rows without a text or a label are left out, and counted.

    Raises:
        DataError: the file is missing or empty, is no such table, or lacks a column; or no row can be used.
    """
    cells, rows, left_out = _cells(path, layout, labelled=True)
    return usable(str(path), cells, rows, left_out)


def read_inputs(path: Path, layout: TextFormat) -> TextRows:
    """Read texts without labels, for a prediction: a text file line by line, or a table as ``read_rows`` has it.

    Raises:
        DataError: see ``read_rows``; or pairs of texts are wanted, and lines have one text each.
    """
    if not _is_table(path):
        if layout.second_column is not None:
            raise DataError(
                f"input={path}: the network was trained on pairs of texts; give a .tsv, .csv or .jsonl with the "
                f"columns {layout.text_column!r} and {layout.second_column!r}"
            )
        texts = read_texts(path)
        return TextRows(str(path), texts, None, (), len(texts), {})
    cells, rows, left_out = _cells(path, layout, labelled=False)
    return usable(str(path), cells, rows, left_out)


def usable(source: str, cells: Cells, rows: int, left_out: Mapping[str, int]) -> TextRows:
    """Return the rows that have a text and, where there are labels, a label.

    Args:
        source: the file, or what else they are from, for messages.
        cells: the values of each column.
        rows: the rows that were read.
        left_out: how many of them are not in ``cells``, by reason.

    Raises:
        DataError: no row is left; or a label is neither a text nor a number.
    """
    missing = Counter(left_out)
    kept = []
    for row, values in enumerate(zip(*cells.values(), strict=True)):
        empty = next((key for key, value in zip(cells, values, strict=True) if not _given(value)), None)
        if empty is None:
            kept.append(row)
        else:
            missing[f"without a {'second text' if empty == 'second' else empty}"] += 1
    if not kept:
        why = ", ".join(f"{count} {what}" for what, count in missing.items() if count)
        raise DataError(f"{source}: there is no text to use in it{f' ({why})' if why else ''}")
    columns = {key: [values[row] for row in kept] for key, values in cells.items()}
    labels = [label_of(value, source, row) for row, value in enumerate(columns.get("label", []), 1)]
    seconds = [str(value) for value in columns["second"]] if "second" in columns else None
    return TextRows(source, [str(value) for value in columns["text"]], seconds, labels, rows, dict(missing))


def _given(value: Any) -> bool:
    return value is not None and bool(str(value).strip())


def label_of(value: Any, source: str, row: int) -> str:
    """Return a label as a word: ``1`` for 1, 1.0 and ``"1"``.

    Raises:
        DataError: it is neither a text nor a whole number nor a truth value.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    raise DataError(f"{source}: the label of row {row} is {value!r:.40}, no class: a text or a whole number is one")


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (*TABLES, *JSONL, ".parquet")


def _cells(path: Path, layout: TextFormat, labelled: bool) -> tuple[Cells, int, dict[str, int]]:
    """Return the values of the wanted columns, the rows that were read, and those that were left out."""
    check_file(path, may_be_empty=False)
    wanted, suffix = layout.wanted(labelled), path.suffix.lower()
    if suffix == ".parquet" or first_bytes(path).startswith(PARQUET):
        found = read_parquet(path, wanted)
    elif suffix in JSONL:
        return _jsonl(path, wanted)
    elif suffix in TABLES or layout.separator is not None:
        quotes = suffix == ".csv" if layout.quotes is None else layout.quotes
        separator = TABLES.get(suffix, ",") if layout.separator is None else layout.separator
        found = read_text(path, wanted, TextLayout(separator, layout.column_names, layout.encoding, quotes, True))
    else:
        raise DataError(f"{path}: labelled texts are in .tsv, .csv, .jsonl or .parquet; or name data.separator")
    return {key: found.table[key].to_pylist() for key in wanted}, found.rows, dict(found.left_out)


def _jsonl(path: Path, wanted: Mapping[str, str]) -> tuple[Cells, int, dict[str, int]]:
    """Return the values of a file with an object of JSON in each line."""
    cells: Cells = {key: [] for key in wanted}
    rows = 0
    for rows, found in enumerate(_objects(path), 1):
        if rows == 1:
            places(path, wanted, list(found), "data")
        for key, name in wanted.items():
            value = found.get(name)
            if key != "label" and value is not None and not isinstance(value, str):
                raise DataError(f"{path}: {name!r} of row {rows} is {value!r:.40}, no text")
            cells[key].append(value)
    if not rows:
        raise DataError(f"{path}: is empty")
    return cells, rows, {}


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise DataError(
                f"{path}: line {number} is no JSON ({why:.120}); .jsonl has one object in each line"
            ) from error
        if not isinstance(found, dict):
            raise DataError(f'{path}: line {number} is no object of JSON, as {{"text": "...", "label": 1}} is')
        yield found
