"""Reads ``metrics.csv`` without Lightning or torch; ``lab.loggers.metrics_csv`` writes it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from lab.errors import RunError
from lab.system.files import read_regular

FILE_NAME = "metrics.csv"
LEADING = ("step", "epoch")
_MOST = 2**31
_MEND = "repair it, or move it away: the training then goes on from its checkpoint without those rows"

Value = float | int | None
MetricsRow = dict[str, Value]


def read_metrics(path: str | Path) -> list[MetricsRow]:
    """Read a ``metrics.csv``, or the one of a run directory, without a last line that a kill cut off.

    Args:
        path: the file or the run directory.

    Returns:
        One dict per row, ordered by step: ``step`` and ``epoch`` are integers, other values floats; None where nothing
        was logged.

    Raises:
        RunError: if the file is missing or larger than 2 GiB, or a line that is not the last one cannot be read.
    """
    path = Path(path)
    return read_table(path / FILE_NAME if path.is_dir() and path.name != FILE_NAME else path)[1]


def read_table(path: Path) -> tuple[list[str], list[MetricsRow], bool]:
    """Return columns, rows, and whether a damaged end of the file was left out; see ``read_metrics``."""
    try:
        data = read_regular(path, _MOST + 1)
    except FileNotFoundError as error:
        raise RunError(f"no metrics at {path}: a run writes {FILE_NAME} with its first logged value") from error
    except IsADirectoryError:
        raise RunError(f"{path} is a folder, not a metrics file: {_MEND}") from None
    if len(data) > _MOST:  # its end would count as cut off by a kill, and be lost at the next write
        raise RunError(f"{path} has more than {_MOST / 2**30:g} GiB, the most that is read: {_MEND}")
    whole = data[: data.rfind(b"\n") + 1]
    damaged = len(whole) < len(data) or not data
    try:
        lines = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline="")))
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is damaged (byte {error.start} is not UTF-8): {_MEND}") from None
    except csv.Error as error:
        raise RunError(f"{path} is damaged ({error}): {_MEND}") from None
    if not lines:
        return list(LEADING), [], True
    columns = lines[0]
    if columns[:1] != ["step"]:
        first = str(columns[:1])[:80]
        raise RunError(f"{path} is not a metrics file: its first column is {first}, not 'step': {_MEND}")
    rows: list[MetricsRow] = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            if len(line) != len(columns):
                raise ValueError(f"{len(line)} fields instead of {len(columns)}")
            row = {name: _parse(name, text) for name, text in zip(columns, line, strict=True)}
            if row["step"] is None:
                raise ValueError("no step")
        except ValueError as error:
            if number < len(lines):
                raise RunError(f"{path}, line {number} is damaged ({error}): repair or delete that line") from None
            damaged = True
        else:
            rows.append(row)
    return columns, rows, damaged


def _parse(name: str, text: str) -> Value:
    if text == "":
        return None
    return int(text) if name in LEADING else float(text)
