"""What a search is for: one metric of the runs or several, each with the direction in which it is better. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.errors import ConfigError, closest
from lab.run_record import Direction, direction


@dataclass(frozen=True)
class Wanted:
    """An objective as the user has set it.

    Attributes:
        metric: None for the metric that the runs monitor.
        direction: None for that of the metric.
        key: the setting that a message names.
    """

    metric: str | None = None
    direction: Direction | None = None
    key: str = "sweeper.metric"


@dataclass(frozen=True)
class Objective:
    """A metric of the runs' results, and whether a higher (``max``) or a lower (``min``) value is better."""

    metric: str
    direction: Direction

    def value(self, result: Mapping[str, float | None]) -> float | None:
        """Return its value in a result; None if it is missing, null or not finite."""
        value = result.get(self.metric)
        return None if value is None or not math.isfinite(value) else float(value)

    def words(self, value: float) -> str:
        """Return the metric, a value and its direction."""
        return f"{self.metric} {value:.4f} ({'lower' if self.direction == 'min' else 'higher'} is better)"


def known_at_once(wanted: Sequence[Wanted]) -> list[Objective] | None:
    """Return the objectives if nothing of them has to be read from a run."""
    found = [Objective(each.metric, each.direction) for each in wanted if each.metric and each.direction]
    return found if len(found) == len(wanted) else None


def read_objectives(wanted: Sequence[Wanted], record: Mapping[str, Any]) -> list[Objective] | None:
    """Return the objectives by the record (``run.json``) of a finished run; None if it monitors nothing.

    Raises:
        ConfigError: the run did not log a metric; the message has the closest names.
    """
    found: list[Objective] = []
    for each in wanted:
        metric = each.metric or record.get("monitor")
        if metric is None:
            return None
        check_logged(each, record.get("result", {}))
        found.append(Objective(metric, each.direction or direction(record, metric)))
    return found


def check_logged(wanted: Wanted, values: Mapping[str, Any], split: str = "") -> None:
    """Refuse an objective that is not among some logged values.

    Args:
        wanted: the objective.
        values: the values.
        split: only an objective of this split can be among them, ``val`` for instance; empty: any.

    Raises:
        ConfigError: it is not among them; the message has the closest names.
    """
    metric = wanted.metric
    if metric is None or metric in values or not values or (split and not metric.startswith(f"{split}/")):
        return
    near = closest(metric, values) or f"; they log {', '.join(values)}"
    raise ConfigError(f"{wanted.key}={metric}: the runs do not log it{near}")
