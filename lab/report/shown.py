"""What is shown of many runs where there is little room: the words in which they differ, one metric. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from lab.text import printable


def shared_words(jobs: Iterable[list[str]]) -> frozenset[str]:
    """Return the words that all jobs have; none if there are fewer than two jobs."""
    shared: set[str] | None = None
    number = 0
    for number, words in enumerate(jobs, 1):  # noqa: B007
        shared = set(words) if shared is None else shared & set(words)
    return frozenset(shared or ()) if number > 1 else frozenset()


def varied(words: Iterable[str], shared: frozenset[str]) -> str:
    """Return the words of a job that are not those of every job, or all of them, safe for a terminal."""
    words = list(words)
    return printable(" ".join([word for word in words if word not in shared] or words))


def pick_metric(metrics: Mapping[str, float | None], monitor: str) -> str:
    """Return the metric to show: the monitored one, else the first of a validation, else the loss; empty if none."""
    if monitor in metrics:
        return monitor
    defined = [name for name, value in metrics.items() if value is not None and not math.isnan(value)]
    measured = [name for name in defined if name.startswith("val/") and name != "val/loss"]
    return next(iter([*measured, *(name for name in ("val/loss", "train/loss") if name in defined)]), "")
