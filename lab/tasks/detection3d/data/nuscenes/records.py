"""Reads a table of nuScenes: a json file with a list of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lab.data.json_files import read_json
from lab.errors import DataError

TableRecords = list[dict[str, Any]]
_TEXTS = frozenset(
    {
        *("token", "scene_token", "sample_token", "sensor_token", "calibrated_sensor_token", "ego_pose_token"),
        *("instance_token", "category_token", "prev", "next", "name", "channel", "filename"),
    }
)


def table_rows(
    folder: Path, name: str, fields: Iterable[str], keep: Callable[[dict[str, Any]], bool] | None = None
) -> TableRecords:
    """Return rows of a table.

    Raises:
        DataError: it is missing, or a row lacks a field.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise DataError(f"{path}: no such table; nuScenes' archive of metadata has it beside sample.json")
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: no list of rows, which a table of nuScenes is")
    wanted = tuple(fields)
    texts = [key for key in wanted if key in _TEXTS]
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or any(key not in row for key in wanted):
            lacks = ", ".join(key for key in wanted if not isinstance(row, dict) or key not in row)
            raise DataError(f"{path}: row {number} has no {lacks}, which nuScenes' schema has")
        if not all(isinstance(row[key], str) for key in texts):
            wrong = next(key for key in texts if not isinstance(row[key], str))
            raise DataError(f"{path}: {wrong} of row {number} is no text, which nuScenes' schema has")
    return rows if keep is None else [row for row in rows if keep(row)]
