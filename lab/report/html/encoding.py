"""From a page's values to the JSON that its script reads: curves are thinned and packed. No torch."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lab.report.html.page import Entry, Page, Series

MOST_POINTS = 600_000
"""Points of all curves of a page: each takes 11 bytes at most, so that a page stays below 8 MB."""
MOST_OF_A_CURVE = 1_000
LEAST_OF_A_CURVE = 40


def thinned(series: Series, most: int) -> Series:
    """Return a curve with at most ``most`` points: the lowest and highest value of equal parts, first and last point.

    An outlier is never lost, as it would be by taking every n-th point. Values that are not defined are kept where a
    whole part has no other.

    Args:
        series: the curve.
        most: 4 at least.
    """
    count = len(series)
    if count <= most:
        return series
    size = -(-(count - 2) // ((most - 2) // 2))
    parts = -(-(count - 2) // size)
    padded = np.full(parts * size, np.nan)
    padded[: count - 2] = series.values[1:-1]
    inner = padded.reshape(parts, size)
    undefined = np.isnan(inner)
    starts = 1 + size * np.arange(parts)
    lowest = starts + np.where(undefined, np.inf, inner).argmin(1)
    highest = starts + np.where(undefined, -np.inf, inner).argmax(1)
    chosen = np.unique([0, *lowest, *highest, count - 1])
    return Series(series.steps[chosen], series.values[chosen])


def page_data(page: Page) -> dict[str, Any]:
    """Return what the script of a page reads: plain values, null for a number that is not defined."""
    pool = _Pool()
    names = metrics_of(page.entries)
    count = sum(len(entry.series) for entry in page.entries)
    most = max(LEAST_OF_A_CURVE, min(MOST_OF_A_CURVE, MOST_POINTS // max(1, count)))
    curves: dict[str, list[list[int]]] = {name: [] for name in names}
    longest = 0
    for index, entry in enumerate(page.entries):
        for name, series in entry.series.items():
            longest = max(longest, len(series))
            curves[name].append([index, *pool.put(thinned(series, most))])
    return {
        "title": page.title,
        "kind": page.kind,
        "made": page.made,
        "monitor": page.monitor,
        "lower": list(page.lower),
        "best": page.best,
        "keys": list(page.keys),
        "runs": [_run(entry, pool) for entry in page.entries],
        "curves": curves,
        "pool": pool.packed,
        "thinned": [longest, most] if longest > most else None,
        "spans": [
            [span.run, span.attempt, span.lane, span.started, span.ended, span.outcome, span.place]
            for span in page.spans
        ],
        "influences": {
            name: [[one.key, plain(one.importance), plain(one.correlation)] for one in found]
            for name, found in page.influences.items()
        },
        "influenceNote": page.influence_note,
        "sheets": [
            {"name": sheet.name, "columns": list(sheet.columns), "rows": [list(map(plain, row)) for row in sheet.rows]}
            for sheet in (page.detail.sheets if page.detail else ())
            if sheet.is_matrix
        ],
        "runsOn": page.runs_on,
    }


def as_script(data: Mapping[str, Any]) -> str:
    """Return JSON that may stand within a script element: no ``<`` ends it, whatever a run is called."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def metrics_of(entries: Sequence[Entry]) -> list[str]:
    """Return the names of all logged metrics, in the order in which they appear."""
    return list(dict.fromkeys(name for entry in entries for name in entry.series))


def plain(value: Any) -> Any:
    """Return a value for JSON: null for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Pool:
    """Packs arrays, equal ones once: most curves of a sweep have the same steps."""

    def __init__(self) -> None:
        self.packed: list[str] = []
        self._known: dict[bytes, int] = {}

    def put(self, series: Series) -> tuple[int, int]:
        return self._add(series.steps), self._add(series.values)

    def _add(self, values: np.ndarray) -> int:
        with np.errstate(over="ignore"):  # a loss beyond float32 is drawn as infinite: not at all
            content = values.astype("<f4").tobytes()
        if content not in self._known:
            self._known[content] = len(self.packed)
            self.packed.append(base64.b64encode(content).decode("ascii"))
        return self._known[content]


def _run(entry: Entry, pool: _Pool) -> dict[str, Any]:
    return {
        "name": entry.name,
        "label": entry.label,
        "number": entry.number,
        "state": entry.state,
        "source": entry.source,
        "values": {key: plain(value) for key, value in entry.values.items()},
        "result": {key: plain(value) for key, value in entry.result.items()},
        "steps": entry.steps,
        "attempts": entry.attempts,
        "seconds": _seconds(entry),
        "batch": entry.batch_size,
        "clock": list(pool.put(thinned(entry.clock, 100))) if entry.clock is not None else None,
        "path": str(entry.path),
        "command": entry.command,
        "problem": entry.problem,
    }


def _seconds(entry: Entry) -> float | None:
    return None if entry.started is None or entry.ended is None else round(entry.ended - entry.started, 1)
