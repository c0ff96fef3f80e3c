"""Reads the two names of a config and the end of a metrics file without the rest of them. No torch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab.config.recorded import UnreadableConfig, events_of, read_text
from lab.system.files import read_regular

_PART = 2**16
"""Bytes of the beginning and of the end of a ``metrics.csv``."""
_END = 2**12
"""Bytes of its last rows."""
_MOST = 2**22
"""Bytes that are looked through for one row."""


def names_of_config(file: Path) -> tuple[dict[str, str], str]:
    """Return ``model.name`` and ``data.name`` of a ``config.yaml``, and why they cannot be read.

    The events of libyaml's parser are enough for this: they take 0.5 ms a file, and no nesting exhausts the stack.
    """
    try:
        return _names(events_of(read_text(file))), ""
    except UnreadableConfig as error:
        return {}, f"config.yaml {error}"


def _names(events: Iterable[Any]) -> dict[str, str]:
    """Return the names in the events of a document; they are scalars of its second level."""
    import yaml

    found: dict[str, str] = {}
    depth, keys, is_key = 0, ["", ""], [True, True]
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            is_key[1] = is_key[1] or depth == 2
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            if depth in (1, 2):
                is_key[depth - 1] = True  # a collection was the value of the key before it
        elif depth in (1, 2) and isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            value = event.value if isinstance(event, yaml.ScalarEvent) else ""
            if is_key[depth - 1]:
                keys[depth - 1] = value
            elif depth == 2 and keys[1] == "name" and keys[0] in ("model", "data"):
                found[f"{keys[0]}.name"] = value
            is_key[depth - 1] = not is_key[depth - 1]
        if len(found) == 2:
            break
    return found


def last_of_metrics(file: Path, validation: bool = True) -> tuple[dict[str, float | None], int | None]:
    """Return the metrics of the last validation and the last step of a ``metrics.csv``; empty and None without any.

    Args:
        file: the file; of a long one only the end is read.
        validation: whether the metrics are wanted too; the step alone needs fewer rows.
    """
    try:
        columns = _columns(file)
        size = _PART if validation else _END
        rows = _last_rows(file, size, len(columns))
        while not rows and size < min(_MOST, file.stat().st_size):  # of thousands of metrics one row is long
            size *= 4
            rows = _last_rows(file, size, len(columns))
    except (OSError, csv.Error):
        return {}, None
    if columns[:1] != ["step"]:
        return {}, None
    steps = [int(row[0]) for row in rows if row[0].isdecimal() and len(row[0]) < 19]
    step = max(steps, default=None)
    for row in reversed(rows if validation else []):
        values = {name: _number(text) for name, text in zip(columns, row, strict=True) if name.startswith("val/")}
        if any(value is not None for value in values.values()):
            return values, step
    return {}, step


def _columns(file: Path) -> list[str]:
    size = _PART
    head = read_regular(file, size)
    while b"\n" not in head and len(head) == size < _MOST:
        size *= 4
        head = read_regular(file, size)
    return next(csv.reader([head.partition(b"\n")[0].decode("utf-8", "replace")]), [])


def _last_rows(file: Path, size: int, width: int) -> list[list[str]]:
    """Return the whole rows in the last ``size`` bytes."""
    tail = read_regular(file, size, end=True).decode("utf-8", "replace")
    whole = tail[: tail.rfind("\n") + 1].partition("\n")[2]  # not the head, nor a line that is cut
    return [row for row in csv.reader(io.StringIO(whole)) if len(row) == width]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
