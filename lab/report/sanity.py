"""Counts what a data set holds and what looks wrong in it, sample by sample. No torch.

Of each sample a few numbers are kept, 8 bytes each, never the sample. What was not looked at is said so: a count of 0
means that it was looked at.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lab.text import printable

NOT_LOOKED_AT = "not looked at"
CHECKS = ("class balance", "sizes", "exact duplicates", "near duplicates", "outliers", "damaged")
"""What a report says something about for each kind of data, if only that it was not looked at."""
OUTLIERS, DAMAGED = "outliers", "damaged"
MOST_EXAMPLES = 5
MOST_BARS = 12
_GRID = 16
_WIDE = 50.0

NumberArray: TypeAlias = npt.NDArray[np.float64]
Bar: TypeAlias = tuple[str, int]


class NumberColumn:
    """Numbers that come one after the other; 8 bytes are kept of each."""

    def __init__(self) -> None:
        self._kept = array("d")

    def add(self, *values: float) -> None:
        """Add numbers."""
        self._kept.extend(map(float, values))

    def extend(self, values: Iterable[float] | NumberArray) -> None:
        """Add many numbers at once."""
        self._kept.frombytes(np.ascontiguousarray(np.asarray(values, dtype=np.float64)).tobytes())

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def values(self) -> NumberArray:
        """The finite numbers."""
        found = np.array(self._kept, dtype=np.float64)
        return found[np.isfinite(found)]

    def summary(self) -> dict[str, float]:
        """Return the least, the most, the mean and three quantiles; empty without a finite number."""
        values = self.values
        if not len(values):
            return {}
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
        least, most = float(values.min()), float(values.max())
        return {"min": least, "5 %": low, "median": middle, "mean": float(values.mean()), "95 %": high, "max": most}

    def bars(self) -> list[Bar]:
        """Return how many numbers are in each of a few ranges, named by their ends."""
        values = self.values
        if not len(values):
            return []
        whole = bool((values == np.round(values)).all())
        single = np.unique(values)
        if len(single) <= MOST_BARS and (whole or len(single) == 1):
            return [(f"{value:g}", int((values == value).sum())) for value in single.tolist()]
        edges = edges_of(values, MOST_BARS, whole)
        counts, _ = np.histogram(values, edges)
        return [
            (_range(low, high, whole, high == edges[-1]), int(count))
            for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        ]


def edges_of(values: NumberArray, most: int, whole: bool) -> NumberArray:
    """Return the edges of at most ``most`` bins: even ones, or of even ratios where numbers span a wide range.

    Args:
        values: finite, not all equal.
        most: of the bins.
        whole: all of them are whole numbers, and so are the edges.
    """
    low, high = float(values.min()), float(values.max())
    wide = low > 0 and high / low > _WIDE
    edges = np.geomspace(low, high, most + 1) if wide else np.linspace(low, high, most + 1)
    if whole:
        edges = np.unique(np.floor(edges))
        edges[-1] = high + 1
    else:
        edges[0], edges[-1] = low, high
    return edges


def _range(low: float, high: float, whole: bool, last: bool) -> str:
    """Return the name of a bin; of whole numbers the last one that it holds stands at its end."""
    if whole:
        end = high - 1
        return f"{low:.0f}" if end <= low else f"{low:.0f} to {end:.0f}"
    return f"{low:.3g} to {high:.3g}"


@dataclass(frozen=True)
class PairGrid:
    """How often two numbers occur together.

    Attributes:
        columns: the edges of the first number (n + 1).
        rows: the edges of the second one (m + 1).
        counts: (m, n), the smallest second number first.
    """

    columns: tuple[float, ...]
    rows: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass
class Finding:
    """Samples, or parts of them, of which something is odd.

    Attributes:
        check: which of ``CHECKS`` it belongs to.
        count: how many.
        examples: the names of the first ones.
    """

    check: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, count: int = 1) -> None:
        """Count one more."""
        self.count += count
        if len(self.examples) < MOST_EXAMPLES and example not in self.examples:
            self.examples.append(printable(example)[:120])


@dataclass
class SplitLook:
    """What was found in one split.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        unit: the word for a sample.
        samples: how many the split has.
        read: how many of them were read.
        classes: how often each class occurs; None: not counted.
        numbers: sizes and lengths, by name.
        tallies: how often each value of something occurs, by name.
        pairs: two numbers that belong together, by name.
        findings: what is odd, by name.
        facts: what else is known, by name.
        skipped: why a check was not made, by the names of ``CHECKS``.
    """

    split: str
    unit: str
    samples: int
    read: int = 0
    classes: dict[str, int] | None = None
    numbers: dict[str, NumberColumn] = field(default_factory=dict)
    tallies: dict[str, Counter[str]] = field(default_factory=dict)
    pairs: dict[str, tuple[NumberColumn, NumberColumn]] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def watch(self, check: str, *names: str) -> None:
        """Say that something is looked for, so that it is reported as 0 if it is not found."""
        for name in names:
            self.findings.setdefault(name, Finding(check))

    def find(self, name: str, example: str, count: int = 1) -> None:
        """Count something that is watched."""
        self.findings[name].add(example, count)

    def number(self, name: str, *values: float) -> None:
        """Add numbers to those of a name."""
        self.numbers.setdefault(name, NumberColumn()).add(*values)

    def pair(self, name: str, first: float, second: float) -> None:
        """Add two numbers that belong together."""
        columns, rows = self.pairs.setdefault(name, (NumberColumn(), NumberColumn()))
        columns.add(first)
        rows.add(second)

    def tally(self, name: str, value: str, count: int = 1) -> None:
        """Count a value."""
        self.tallies.setdefault(name, Counter())[value] += count

    def count_class(self, name: str, count: int = 1) -> None:
        """Count a class among the samples that are read."""
        self.classes = self.classes or {}
        self.classes[name] = self.classes.get(name, 0) + count

    @property
    def is_whole(self) -> bool:
        """Whether all samples were read."""
        return self.read >= self.samples

    def grids(self) -> dict[str, PairGrid]:
        """Return the numbers that belong together as grids, without those of a single cell."""
        found = {name: _grid(*pair) for name, pair in self.pairs.items() if len(pair[0])}
        return {name: grid for name, grid in found.items() if max(len(grid.columns), len(grid.rows)) > 2}

    def not_looked_at(self) -> dict[str, str]:
        """Return the checks that nothing was found out for, and why."""
        made = {finding.check for finding in self.findings.values()}
        made |= {"class balance"} if self.classes is not None else set()
        made |= {"sizes"} if self.numbers else set()
        return {check: self.skipped.get(check, "") for check in CHECKS if check not in made}

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON; null for what was not looked at."""
        return {
            "split": self.split,
            "unit": self.unit,
            "samples": self.samples,
            "read": self.read,
            "whole": self.is_whole,
            "classes": self.classes,
            "numbers": {name: {**one.summary(), "bars": one.bars()} for name, one in self.numbers.items()},
            "tallies": {name: dict(counts.most_common(100)) for name, counts in self.tallies.items()},
            "grids": {name: vars(grid) for name, grid in self.grids().items()},
            "findings": {name: vars(finding) for name, finding in self.findings.items()},
            "facts": self.facts,
            "not_looked_at": self.not_looked_at(),
        }


def _grid(columns: NumberColumn, rows: NumberColumn) -> PairGrid:
    one, two = columns.values, rows.values
    edges = []
    for values in (one, two):
        whole = bool((values == np.round(values)).all())
        if values.min() == values.max():
            edges.append(np.array([values.min(), values.min() + 1]))
        else:
            edges.append(edges_of(values, _GRID, whole))
    counts, _, _ = np.histogram2d(two, one, [edges[1], edges[0]])
    table = tuple(tuple(int(count) for count in row) for row in counts.tolist())
    return PairGrid(tuple(edges[0].tolist()), tuple(edges[1].tolist()), table)


@dataclass
class SanityReport:
    """What was found in the splits of a data set, and between them.

    Attributes:
        name: of the data.
        kind: of problem.
        looks: one for each split.
        between: what samples of two splits have in common: a finding by the words ``"val also in train"``.
        notes: what a reader needs to judge the numbers.
        rows: for each file of a table the numbers of rows read, used and left out, by its name.
        tables: how the data was prepared: rows of plain values, by the table's name.
    """

    name: str
    kind: str
    looks: list[SplitLook]
    between: dict[str, Finding] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "data": self.name,
            "kind": self.kind,
            "splits": {look.split: look.to_plain() for look in self.looks},
            "across_splits": {name: vars(finding) for name, finding in self.between.items()},
            "rows_read": {name: dict(report) for name, report in self.rows.items()},
            "tables": dict(self.tables),
            "notes": self.notes,
        }
