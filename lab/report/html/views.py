"""What the template of a page needs beside its values: counts of states, tables of results, failures. No torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.report.html.page import ConfigDifference, Entry, Page, Sheet, ShownPicture

BAD = ("failed", "diverged", "refused", "poison", "interrupted")
_MOST_FAILURES = 100
_MOST_SIDE_BY_SIDE = 6
_SMALL = 340
_PER_CLASS = "_per_class/"


@dataclass(frozen=True)
class View:
    """What the template shows.

    Attributes:
        states: how many runs are in each state.
        best: the best run; None if there is none.
        best_value: its value of the monitored metric, in words.
        failures: runs that failed.
        more_failures: how many further ones there are.
        compared: how many runs have a config that could be compared.
        side_by_side: whether differences have a column for each run.
        results: of a single run: a row for each metric, its values by stage.
        stages: the stages of these results.
        classes: of a single run: tables of metrics by class, where no file has them.
        pairs: pictures of truth beside prediction.
        pictures: other small ones.
        large_pictures: other large ones: sheets, matrices.
        sheets: tables that are no confusion matrices.
        matrices: confusion matrices.
    """

    states: Sequence[tuple[str, int]]
    best: Entry | None
    best_value: str
    failures: Sequence[Entry]
    more_failures: int
    compared: int
    side_by_side: bool
    results: Sequence[tuple[str, Sequence[str]]]
    stages: Sequence[str]
    classes: Sequence[Sheet]
    pairs: Sequence[ShownPicture]
    pictures: Sequence[ShownPicture]
    large_pictures: Sequence[ShownPicture]
    sheets: Sequence[Sheet]
    matrices: Sequence[Sheet]

    def cell(self, difference: ConfigDifference, run: int) -> str:
        """Return the value of a differing key in a run; empty if its config could not be read."""
        return next((text for text, runs in difference.values if run in runs), "")


def view_of(page: Page) -> View:
    """Return the view of a page."""
    best = page.entries[page.best] if page.best is not None else None
    value = best.result.get(page.monitor) if best is not None else None
    failures = [entry for entry in page.entries if entry.state in BAD or entry.problem]
    detail = page.detail
    sheets = detail.sheets if detail else ()
    pictures = detail.pictures if detail else ()
    result: Mapping[str, float | None] = page.entries[0].result if page.kind == "run" else {}
    stages = list(dict.fromkeys(key.split("/", 1)[0] for key in result))
    return View(
        states=Counter(entry.state for entry in page.entries).most_common(),
        best=best,
        best_value=shown(value),
        failures=failures[:_MOST_FAILURES],
        more_failures=max(0, len(failures) - _MOST_FAILURES),
        compared=len({run for one in page.differences for _, runs in one.values for run in runs}),
        side_by_side=len(page.entries) <= _MOST_SIDE_BY_SIDE,
        results=_results(result, stages),
        stages=stages,
        classes=_classes(result),
        pairs=[picture for picture in pictures if picture.parts],
        pictures=[picture for picture in pictures if not picture.parts and picture.width <= _SMALL],
        large_pictures=[picture for picture in pictures if not picture.parts and picture.width > _SMALL],
        sheets=[sheet for sheet in sheets if not sheet.is_matrix],
        matrices=[sheet for sheet in sheets if sheet.is_matrix],
    )


def shown(value: float | None) -> str:
    """Return a number as a person reads it; a dash for one that is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4g}" if value else "0"


def _results(result: Mapping[str, float | None], stages: Sequence[str]) -> list[tuple[str, list[str]]]:
    names = dict.fromkeys(key.split("/", 1)[-1] for key in result if _PER_CLASS not in key)
    rows = [(name, [shown(result.get(f"{stage}/{name}")) for stage in stages]) for name in names]
    return [(name, values) for name, values in rows if any(value != "–" for value in values)]


def _classes(result: Mapping[str, float | None]) -> list[Sheet]:
    """Return the results by class, a table for each stage: a row for each class, a column for each metric."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for key, value in result.items():
        if _PER_CLASS in key:
            stage, rest = key.split("/", 1)
            metric, name = rest.split(_PER_CLASS, 1)
            found.setdefault(stage, {}).setdefault(name, {})[metric] = value
    sheets = []
    for stage, classes in found.items():
        metrics = list(dict.fromkeys(metric for values in classes.values() for metric in values))
        rows = [[name, *(values.get(metric) for metric in metrics)] for name, values in classes.items()]
        sheets.append(Sheet(f"{stage} by class", "", ["class", *metrics], rows))
    return sheets
