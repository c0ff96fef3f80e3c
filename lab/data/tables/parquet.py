"""Reads Parquet tables: only the named columns; ids become text, times stay as stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.data.memory import require_memory
from lab.data.tables.columns import ReadColumns, places, shown
from lab.errors import DataError

BYTES = 16
"""The least bytes of a value in memory: a number in an array, or an offset into text and one character."""


def read_parquet(path: Path, wanted: dict[str, str], where: str = "data") -> ReadColumns:
    """Read some columns of a Parquet file; other columns may have any content.

    Args:
        path: the file.
        wanted: the columns' names by their role.
        where: the config group that names the columns, for messages.

    Returns:
        The columns, named by their role: ``session`` and ``item`` as text, others as numbers, timestamps or text.

    Raises:
        DataError: the file is damaged, or a column is missing or holds lists.
    """
    import pyarrow
    from pyarrow import parquet

    noted: dict[str, int] = {}
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            at = places(path, wanted, names, where)
            for key, place in zip(wanted, at, strict=True):
                _check_type(path, key, file.schema_arrow.field(place), where)
            rows = file.metadata.num_rows
            require_memory(path, rows * (len(wanted) * BYTES + 8), f"its {rows} rows")
            table = file.read(columns=[names[place] for place in dict.fromkeys(at)])
        table.validate(full=True)  # text columns may hold invalid UTF-8
        columns = {}
        for key, name in wanted.items():
            column = table[name]
            columns[key] = _as_text(column, key, noted) if key in ("session", "item") else _plain(column)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read as Parquet: {first}") from error
    if not rows:
        raise DataError(f"{path}: holds no rows ({shown(names)})")
    return ReadColumns(pyarrow.table(columns), rows, noted=noted)


def _check_type(path: Path, key: str, field: Any, where: str) -> None:
    from pyarrow import types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    odd = types.is_nested(kind) or (key in ("time", "offset") and (types.is_duration(kind) or types.is_time(kind)))
    if odd:
        raise DataError(
            f"{path}: column {field.name!r} holds {kind}, not one {key} a row; name another by {where}.{key}_column"
        )


def _plain(column: Any) -> Any:
    from pyarrow import types

    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def _as_text(column: Any, key: str, noted: dict[str, int]) -> Any:
    """Return ids as text. Floats become whole numbers: pandas stores integers with missing values as floats."""
    import pyarrow
    import pyarrow.compute as pc
    from pyarrow import types

    column = _plain(column)
    if types.is_floating(column.type):
        known = pc.and_(pc.is_valid(column), pc.invert(pc.is_nan(column)))
        column = pc.if_else(known, column, pyarrow.scalar(None, column.type))
        whole = pc.equal(column, pc.floor(column))
        small = pc.less(pc.abs(column), 2.0**53)
        if pc.all(pc.and_(whole, small)).as_py():
            column = column.cast(pyarrow.int64())
            noted[f"with the {key} stored as a float, read as a whole number"] = len(column) - column.null_count
    return column.cast(pyarrow.string())
