"""Orders the jobs of a sweep by the metric that its runs monitor, in that metric's direction. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.run_record import direction


@dataclass(frozen=True)
class Best:
    """The best of several runs.

    Attributes:
        index: the index of the best run.
        metric: the metric of the comparison, ``val/map`` for instance.
        value: the metric's value in this run.
        lower: whether a lower value is better.
    """

    index: int
    metric: str
    value: float
    lower: bool

    def words(self) -> str:
        """Return the metric, its value and its direction."""
        return f"{self.metric} {self.value:.4f} ({'lower' if self.lower else 'higher'} is better)"


def rank(records: Sequence[Mapping[str, Any]]) -> list[Best]:
    """Return the finished runs by their records (``run.json``), the best first; equal ones in their own order.

    Returns:
        Empty if no run finished with the metric that it monitors, or if they monitor different metrics.
    """
    found: list[tuple[int, float]] = []
    monitored: set[tuple[str, bool]] = set()
    for index, record in enumerate(records):
        metric = record.get("monitor", "")
        value = record.get("result", {}).get(metric)
        if record.get("state") == "finished" and value is not None and math.isfinite(value):
            found.append((index, float(value)))
            monitored.add((metric, direction(record, metric) == "min"))
    if len(monitored) != 1:
        return []
    metric, lower = monitored.pop()
    found.sort(key=lambda item: item[1] if lower else -item[1])
    return [Best(index, metric, value, lower) for index, value in found]


def find_best(records: Sequence[Mapping[str, Any]]) -> Best | None:
    """Return the best of some runs by their records; of equal ones the first.

    Returns:
        None if fewer than two runs finished with the metric that they monitor, or if they monitor different metrics.
    """
    ranked = rank(records)
    return ranked[0] if len(ranked) > 1 else None
