"""Where the curves of two runs part. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import RunError
from lab.loggers.metrics_file import FILE_NAME, MetricsRow, read_table

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 24


@dataclass(frozen=True)
class CurvePair:
    """The curves of one metric in two runs.

    Attributes:
        metric: its name.
        steps: how many steps both have.
        equal_until: the last step up to which all common values are equal, to the bit; None if the first one differs.
        parts_at: the first common step at which they differ; None if they are equal.
        largest: the largest difference at a common step, other minus one; None if they are equal.
        largest_at: its step.
        sparks: the two curves over their common steps, drawn with block characters on one scale.
    """

    metric: str
    steps: int
    equal_until: int | None
    parts_at: int | None
    largest: float | None
    largest_at: int | None
    sparks: tuple[str, str] = ("", "")


def compare_curves(one: Path, other: Path) -> tuple[list[CurvePair], list[str]]:
    """Return the validation metrics and the loss of training that both runs have logged, and what cannot be read.

    Args:
        one: a run's directory.
        other: another one's.
    """
    tables, problems = [], []
    for run in (one, other):
        try:
            tables.append(_curves(read_table(run / FILE_NAME)[1]))
        except (RunError, OSError) as error:
            tables.append({})
            problems.append(str(error))
    names = [name for name in tables[0] if name in tables[1]]
    return [_pair(name, tables[0][name], tables[1][name]) for name in names], problems


def _curves(rows: Sequence[MetricsRow]) -> dict[str, dict[int, float]]:
    """Return the defined values of each curve by step."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        step = row["step"]
        for name, value in row.items():
            if (name.startswith("val/") or name == "train/loss") and value is not None and "per_class" not in name:
                found.setdefault(name, {})[int(step or 0)] = float(value)
    return found


def _pair(name: str, one: Mapping[int, float], other: Mapping[int, float]) -> CurvePair:
    common = sorted(one.keys() & other.keys())
    apart = [step for step in common if not _same(one[step], other[step])]
    if not apart:
        return CurvePair(
            name, len(common), common[-1] if common else None, None, None, None, _sparks(common, one, other)
        )
    before = [step for step in common if step < apart[0]]
    finite = [step for step in apart if math.isfinite(other[step] - one[step])]
    largest = max(finite, key=lambda step: abs(other[step] - one[step]), default=None)
    return CurvePair(
        name,
        len(common),
        before[-1] if before else None,
        apart[0],
        None if largest is None else other[largest] - one[largest],
        largest,
        _sparks(common, one, other),
    )


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _sparks(steps: Sequence[int], one: Mapping[int, float], other: Mapping[int, float]) -> tuple[str, str]:
    values = [side[step] for side in (one, other) for step in steps if math.isfinite(side[step])]
    if len(steps) < 2 or not values or not math.isfinite(max(values) - min(values)):
        return "", ""
    low, high = min(values), max(values)
    count = min(_WIDTH, len(steps))
    chosen = [steps[round(place * (len(steps) - 1) / (count - 1))] for place in range(count)]
    return _drawn([one[step] for step in chosen], low, high), _drawn([other[step] for step in chosen], low, high)


def _drawn(values: Sequence[float], low: float, high: float) -> str:
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values)
