"""How far lab's networks are from another implementation: one place that compares and, if asked, keeps the errors.

``LAB_RECORD_PARITY=tests/parity/errors.csv python -m pytest tests/parity`` writes the worst errors, from which
``scripts/zoo.py`` makes its table. A test that is not run leaves its rows as they were.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

FIELDS = ("room", "model", "peer", "what", "error", "tolerance", "test")
KEY = FIELDS[:4]
Row = dict[str, str]
_seen: dict[tuple[str, ...], float] = {}
"""The worst errors of this session by the first four fields."""


@dataclass(frozen=True)
class Compared:
    """Another implementation of the networks of a room.

    Attributes:
        room: the folder of lab/models.
        name: whose implementation it is.
        models: registered names that are compared as they are; none: networks of other sizes.
    """

    room: str
    name: str
    models: tuple[str, ...] = ()

    def agrees(self, what: str, error: float, tolerance: float, *models: str) -> bool:
        """Return whether an error is below a tolerance, and keep it if ``LAB_RECORD_PARITY`` names a file.

        Args:
            what: is compared: ``logits``, ``gradients``, ...; in double precision it says so.
            error: absolute or relative, as the test measures it.
            tolerance: that it has to be below.
            *models: the registered names that it holds for, in place of the peer's own.
        """
        file = os.environ.get("LAB_RECORD_PARITY")
        if file:
            record(Path(file), (self.room, " ".join(models or self.models), self.name, what), float(error), tolerance)
        return float(error) < tolerance


def record(file: Path, key: tuple[str, ...], error: float, tolerance: float) -> None:
    """Write the worst error of this session into a file, in place of an older session's.

    Args:
        file: the CSV; it is made if it does not exist.
        key: room, models, peer, what.
        error: of this comparison.
        tolerance: it was held against.
    """
    if error <= _seen.get(key, -1.0):
        return
    _seen[key] = error
    rows: dict[tuple[str, ...], Row] = {}
    if file.is_file():
        with file.open(newline="", encoding="utf-8") as source:
            rows = {tuple(row[name] for name in KEY): row for row in csv.DictReader(source)}
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("[")[0].partition(" ")[0].removeprefix("tests/parity/")
    values = (*key, f"{error:.1e}", f"{tolerance:g}", test)
    rows[key] = dict(zip(FIELDS, values, strict=True))
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))
