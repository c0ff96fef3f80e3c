"""Reads the results of ``stage=test`` and ``stage=validate`` from their folder. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import RunError
from lab.text import printable

if TYPE_CHECKING:
    import pandas as pd


class Evaluation:
    """The folder that ``stage=test`` or ``stage=validate`` has written, beside the fit's result.

    Args:
        path: the folder, ``test-best`` of a run for instance.

    Attributes:
        path: the folder.
        record: the content of ``result.json``.

    Raises:
        RunError: there is no ``result.json``, or it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        file = self.path / "result.json"
        try:
            record = json.loads(file.read_bytes().decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{file} cannot be read ({error})") from error
        if not isinstance(record, dict) or not isinstance(record.get("result"), dict):
            raise RunError(f"{file} is not the result of an evaluation")
        self.record: dict[str, Any] = record

    @property
    def result(self) -> dict[str, float]:
        """The metrics, named ``test/...`` or ``val/...``; NaN for a metric that is not defined."""
        return as_numbers(self.record["result"])

    @property
    def protocol(self) -> str:
        """How the metrics were computed, where their names do not say it."""
        return str(self.record.get("protocol", ""))

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of the evaluation, by name."""
        return tables_in(self.path)

    @property
    def pictures(self) -> list[Path]:
        """The pictures that were drawn."""
        return pictures_in(self.path)

    def __repr__(self) -> str:
        return "\n".join([f"Evaluation {printable(self.path)}", *as_lines(self.result)])


def as_numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Return a recorded result with NaN for metrics that are not defined."""
    return {key: math.nan if value is None else float(value) for key, value in result.items()}


def as_lines(result: Mapping[str, float]) -> list[str]:
    """Return a line for each metric, without those of single classes."""
    return [f"  {printable(key)}: {value:.4f}" for key, value in result.items() if "per_class" not in key]


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a stage, those that move too."""
    return sorted(path for path in (folder / "pictures").glob("*") if path.suffix in (".png", ".gif"))


def tables_in(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of a stage, by name."""
    import pandas as pd

    return {file.stem: pd.read_csv(file) for file in sorted((folder / "tables").glob("*.csv"))}
