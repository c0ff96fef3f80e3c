"""Parquet files of predictions, written and merged in blocks, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROWS_AT_ONCE = 4096
"""Rows that are held in memory."""


class ParquetRows:
    """A Parquet file as a context, to which rows are added.

    Args:
        path: the file.
        schema: pyarrow's, the columns and their types.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        from pyarrow import parquet

        self._schema = schema
        self._writer = parquet.ParquetWriter(path, schema)
        self._rows: list[list[Any]] = []

    def add(self, row: list[Any]) -> None:
        """Add a row."""
        self._rows.append(row)
        if len(self._rows) == ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            columns = list(zip(*self._rows, strict=True))
            arrays = [pyarrow.array(cells, field.type) for cells, field in zip(columns, self._schema, strict=True)]
            self._writer.write_table(pyarrow.table(arrays, schema=self._schema))
        self._rows = []

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def class_schema(first: dict[str, Any], num_classes: int, lists: bool = False) -> Any:
    """Return the schema of a table of classes: ``class_1``, ``score_1``, ...; or the lists ``labels`` and ``scores``.

    Args:
        first: the names and types of the columns before them.
        num_classes: the classes of a row; not used with ``lists``.
        lists: whether a row has lists of classes and scores.
    """
    import pyarrow

    text, score = pyarrow.string(), pyarrow.float32()
    fields = list(first.items())
    if lists:
        return pyarrow.schema([*fields, ("labels", pyarrow.list_(text)), ("scores", pyarrow.list_(score))])
    places = range(1, num_classes + 1)
    return pyarrow.schema([*fields, *(pair for k in places for pair in ((f"class_{k}", text), (f"score_{k}", score)))])


def row_groups_in_turn(files: Sequence[Path]) -> Iterator[Any]:
    """Yield the row groups of the files of all ranks as pyarrow tables: the first of each, the second of each, ...

    With a row group for each batch this is the order of the inputs.
    """
    from pyarrow import parquet

    opened = [parquet.ParquetFile(path) for path in files]
    for group in range(max(file.num_row_groups for file in opened)):
        for file in opened:
            if group < file.num_row_groups:
                yield file.read_row_group(group)
