"""Tables that give images several labels: a column of joined names, or a column of 0 and 1 for each class.

CSV and other text tables are read by ``lab.data.tables``; in Parquet the labels may be a list as well. Several rows of
one image are joined, so that tables of one row for each label fit too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.data.tables.columns import TextLayout, places, shown
from lab.data.tables.opening import PARQUET, first_bytes
from lab.data.tables.records import TextRecords
from lab.data.tables.text import read_text
from lab.errors import DataError

_TRUE, _FALSE = {"1", "1.0", "true", "True"}, {"0", "0.0", "false", "False"}
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class LabelFormat:
    """The format of a table of labels.

    Attributes:
        file_column: the column of file names.
        labels_column: the column of labels; where a table lacks it, every other column is a class.
        label_separator: between the labels of an image.
        separator: between the columns of a text table.
    """

    file_column: str = "file"
    labels_column: str = "labels"
    label_separator: str = "|"
    separator: str = ","


@dataclass(frozen=True)
class Labels:
    """What a table says.

    Attributes:
        classes: the names that occur, sorted; or those of the columns of 0 and 1, in their order.
        of: the labels of each file.
        rows: the number of rows.
        left_out: the number of rows that were not used, by reason.
    """

    classes: tuple[str, ...]
    of: Mapping[str, tuple[str, ...]]
    rows: int
    left_out: Mapping[str, int]


def read_labels(path: Path, layout: LabelFormat) -> Labels:
    """Read a table of labels.

    Raises:
        DataError: it cannot be read, lacks a column, or a class's column holds something else than 0 and 1.
    """
    is_parquet = path.suffix.lower() == ".parquet" or first_bytes(path).startswith(PARQUET)
    names = _parquet_names(path) if is_parquet else _text_names(path, layout)
    joined = layout.labels_column in names
    others = [layout.labels_column] if joined else [name for name in names if name != layout.file_column]
    if not joined and len(others) < 2:
        raise DataError(
            f"{path}: there is no column {layout.labels_column!r}, nor several columns of 0 and 1; it has "
            f"{shown(names)}; name yours by data.labels_column"
        )
    wanted = {"file": layout.file_column, **{("labels" if joined else name): name for name in others}}
    places(path, {key: name for key, name in wanted.items() if key in ("file", "labels")}, names, "data")
    table, rows, left_out = _parquet(path, wanted) if is_parquet else _text(path, wanted, layout)
    found: dict[str, dict[str, None]] = {}
    blank = 0
    cells = _joined(table, layout) if joined else _one_hot(path, table, others)
    for file, labels in zip(table["file"], cells, strict=True):
        name = str(file or "").strip()
        if not name:
            blank += 1
            continue
        found.setdefault(name, {}).update(dict.fromkeys(labels))
    classes = tuple(sorted({label for labels in found.values() for label in labels})) if joined else tuple(others)
    of = {name: tuple(labels) for name, labels in found.items()}
    return Labels(classes, of, rows, left_out | ({"without a file": blank} if blank else {}))


def _joined(table: Mapping[str, Sequence[Any]], layout: LabelFormat) -> Iterator[list[str]]:
    """Yield the labels of each row: a text of joined names, or a list of them."""
    for cell in table["labels"]:
        parts = cell if isinstance(cell, list) else str("" if cell is None else cell).split(layout.label_separator)
        yield [name for part in parts if part is not None and (name := str(part).strip())]


def _one_hot(path: Path, table: Mapping[str, Sequence[Any]], classes: Sequence[str]) -> Iterator[list[str]]:
    """Yield the labels of each row.

    Raises:
        DataError: a value is neither 0 nor 1.
    """
    truths = []
    for name in classes:
        values = [str(value).strip() for value in table[name]]
        odd = next((row for row, value in enumerate(values) if value not in _TRUE and value not in _FALSE), None)
        if odd is not None:
            raise DataError(
                f"{path}: column {name!r} of row {odd + 1} holds {values[odd][:40]!r}, and a class's column holds 0 or "
                "1; leave other columns out of the table, or name a column of labels by data.labels_column"
            )
        truths.append([value in _TRUE for value in values])
    for row in zip(*truths, strict=True):
        yield [name for name, true in zip(classes, row, strict=True) if true]


def _text_names(path: Path, layout: LabelFormat) -> list[str]:
    records = TextRecords(path, TextLayout(separator=layout.separator), "data")
    records.scan()
    return records.header()[0]


def _text(path: Path, wanted: dict[str, str], layout: LabelFormat) -> tuple[dict[str, list[Any]], int, dict[str, int]]:
    read = read_text(path, wanted, TextLayout(separator=layout.separator))
    return {key: read.table[key].to_pylist() for key in wanted}, read.rows, dict(read.left_out)


def _parquet_names(path: Path) -> list[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        return list(parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _parquet(path: Path, wanted: dict[str, str]) -> tuple[dict[str, list[Any]], int, dict[str, int]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=list(wanted.values()))
        table.validate(full=True)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    return {key: table[name].to_pylist() for key, name in wanted.items()}, table.num_rows, {}


def _damaged(path: Path, error: Exception) -> DataError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(f"{path}: cannot be read as Parquet: {first}")
