"""Writes ``metrics.csv``: every logged number of a run, one row per optimizer step. It is the record that counts.

Pictures, tables and W&B show the same numbers. This file survives a kill at any moment: rows are appended, changes to a
row on disk go through a temporary file and a rename, and a line that a kill cut off is dropped at the next read.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from lab.loggers.metrics_file import FILE_NAME, LEADING, MetricsRow, Value, read_metrics, read_table
from lab.loggers.undefined import with_nulls
from lab.system.files import replacing

_GROUPS = ("train/", "val/", "test/")


class MetricsCSV(Logger):
    """Lightning logger that writes ``metrics.csv`` into the run directory, on rank zero only.

    Values logged for the same step in several calls merge into one row; a later value of the same name wins. A row
    is written to the file when the next step begins, or with ``flush``. The file is not touched before the first value.

    Args:
        run_dir: the run directory; it is made when the first value arrives.
    """

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__()
        self.path = Path(run_dir) / FILE_NAME
        self._file: TextIO | None = None
        self._columns: list[str] = []
        self._last_step = -1  # the highest step on disk
        self._pending: MetricsRow = {}  # the row of the current step, not on disk yet

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Empty: a run directory holds one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.path.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` in the run directory holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of ``step``.

        Args:
            metrics: names and numbers; ``epoch`` may be among them.
            step: the optimizer step; the latest one known if None.
        """
        self._open()
        latest = _step_of(self._pending) if self._pending else self._last_step
        step = max(latest, 0) if step is None else int(step)
        values = {_column(name): _number(name, value) for name, value in metrics.items() if name != "step"}
        if not values:
            return
        if step <= self._last_step:
            # Rare: a validation at a step that a checkpoint has already flushed, or a test of an earlier checkpoint.
            self._amend(step, values)
            return
        if self._pending and step < latest:
            self._write_pending()
            self._amend(step, values)
            return
        if step > latest:
            self._write_pending()
        self._pending = {"step": step, **self._pending, **values}

    @rank_zero_only
    def flush(self) -> None:
        """Write everything logged so far to disk; called before each checkpoint and at the end."""
        self._open()
        self._write_pending()
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    @rank_zero_only
    def cut_back(self, step: int) -> None:
        """Drop every row above ``step``, the optimizer step of the checkpoint that a resumed run starts from."""
        rows = self._open()
        self._write_pending()
        if self._file is None:
            return
        rows = read_metrics(self.path) if rows is None else rows
        kept = [row for row in rows if _step_of(row) <= step]
        if len(kept) < len(rows):
            self._rewrite(kept)

    def finalize(self, status: str) -> None:
        """Flush and close; a value logged afterwards opens the file again."""
        self.flush()
        self._close()

    def _open(self) -> list[MetricsRow] | None:
        """Open the file of an earlier process, without a last line that a kill cut off; return the rows read now."""
        if self._file is not None or not self.path.exists():
            return None
        columns, rows, damaged = read_table(self.path)
        self._columns = columns
        if damaged:
            self._rewrite(rows)
            return rows
        self._last_step = _step_of(rows[-1]) if rows else -1
        self._file = self.path.open("a", encoding="utf-8", newline="")
        return rows

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_pending(self) -> None:
        row, self._pending = self._pending, {}
        if not row:
            return
        if self._file is None or not row.keys() <= set(self._columns):
            self._rewrite([*(read_metrics(self.path) if self._file is not None else []), row])
            return
        self._file.write(_format([row], self._columns))
        self._file.flush()  # to the kernel, so that a reader sees whole rows and a SIGKILL loses none
        self._last_step = _step_of(row)

    def _amend(self, step: int, values: MetricsRow) -> None:
        rows = {_step_of(row): row for row in read_metrics(self.path)}
        rows[step] = {"step": step, **rows.get(step, {}), **values}
        pending, self._pending = self._pending, {}
        self._rewrite([rows[key] for key in sorted(rows)])
        self._pending = pending

    def _rewrite(self, rows: list[MetricsRow]) -> None:
        """Replace the whole file: a kill leaves either the old or the new one."""
        if not self._columns:
            self.path.parent.mkdir(parents=True, exist_ok=True)  # later on: a directory that was moved stays away
        self._columns = _order([*self._columns, *(name for row in rows for name in row)])
        self._close()
        with replacing(self.path) as file:
            file.write(_format([dict(zip(self._columns, self._columns, strict=True)), *rows], self._columns))
        self._last_step = _step_of(rows[-1]) if rows else -1
        self._file = self.path.open("a", encoding="utf-8", newline="")


def _number(name: str, value: float) -> Value:
    return int(value) if name in LEADING else float(value)


def _column(name: str) -> str:
    """Return a name as the header has it, without line breaks."""
    return " ".join(name.splitlines())


def _step_of(row: MetricsRow) -> int:
    step = row["step"]
    assert isinstance(step, int)
    return step


def _order(names: Iterable[str]) -> list[str]:
    """Return the distinct columns: step, epoch, train, val, test, the rest, each in order of appearance."""

    def place(name: str) -> int:
        if name in LEADING:
            return LEADING.index(name) - len(LEADING)
        return next((index for index, group in enumerate(_GROUPS) if name.startswith(group)), len(_GROUPS))

    return sorted(dict.fromkeys([*LEADING, *names]), key=place)


def _format(rows: Iterable[Mapping[str, Value | str]], columns: list[str]) -> str:
    buffer = io.StringIO()
    # The csv module writes floats with repr, which reads back to the same bits.
    csv.DictWriter(buffer, columns, restval="", lineterminator="\n").writerows(map(with_nulls, rows))
    return buffer.getvalue()
