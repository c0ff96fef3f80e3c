"""Splits by years or dates, and the samples of a split: a start and the states that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lab.errors import ConfigError, DataError
from lab.tasks.operator_learning.data.weather.files import StateNumbers, Times

NEAR = 0.1
"""A state counts as a step later if it is nearer to that time than this share of the time between two states: months
have 28 to 31 days."""


@dataclass(frozen=True)
class Samples:
    """The samples of a split.

    Attributes:
        starts: (N,) the numbers of the states to start from.
        targets: (N, S) the numbers of the states after 1 to S steps.
        left_out: how many states of the split start no sample though it goes on, by reason.
    """

    starts: StateNumbers
    targets: StateNumbers
    left_out: dict[str, int] = field(default_factory=dict)


def parse_range(given: Sequence[object], key: str) -> tuple[int, int]:
    """Return the first and the last second of a range of years or dates, both inclusive.

    Args:
        given: two years (1979), months (``1979-01``), days (``2019-03-20``) or times (``2019-03-20T06``).
        key: the key, for messages.

    Raises:
        ConfigError: it is none, or the end is before the start.
    """
    words = [str(word).replace(" ", "T") for word in given] if not isinstance(given, str) else [given]
    right = f"data.{key}={list(words)}: give two dates in order, as [2019-03-01, 2019-03-20] or [1979, 2015]"
    if len(words) != 2:
        raise ConfigError(right)
    try:
        first, last = (np.datetime64(word) for word in words)
        start = int(first.astype("datetime64[s]").astype(np.int64))
        end = int((last + 1).astype("datetime64[s]").astype(np.int64)) - 1
    except ValueError as error:
        raise ConfigError(right) from error
    if np.isnat(first) or np.isnat(last) or end < start:
        raise ConfigError(right)
    return start, end


def rows_between(times: Times, first: int, last: int) -> StateNumbers:
    """Return the numbers of the states from one second to another, both inclusive."""
    begin, end = np.searchsorted(times, [first, last + 1])
    return np.arange(begin, end)


def samples_of(
    times: Times, rows: StateNumbers, usable: npt.NDArray[np.bool_], step: float, steps: int, spacing: float
) -> Samples:
    """Return every start of a split from which all steps are in the split too.

    Args:
        times: (T,) of all states, rising.
        rows: the states of the split, consecutive numbers.
        usable: (T,) whether a state has no value that is not finite.
        step: the seconds of a step.
        steps: S.
        spacing: the seconds between two states.
    """
    near = NEAR * min(step, spacing)
    here, found = times[rows], np.ones(len(rows), dtype=bool)
    targets = np.zeros((len(rows), steps), dtype=np.int64)
    for number in range(steps):
        wanted = here + (number + 1) * step
        right = np.clip(np.searchsorted(here, wanted), 1, max(1, len(here) - 1))
        right = np.minimum(right, len(here) - 1)
        left = np.maximum(right - 1, 0)
        nearest = np.where(np.abs(here[left] - wanted) <= np.abs(here[right] - wanted), left, right)
        found &= (np.abs(here[nearest] - wanted) <= near) & (nearest > np.arange(len(rows)))
        targets[:, number] = rows[nearest] if len(rows) else 0
    inside = here + steps * step <= (here[-1] if len(here) else 0) + near
    whole = usable[rows] & usable[targets].all(axis=1)
    left_out = {
        "a later state is missing": int((inside & ~found).sum()),
        "values are not finite": int((found & ~whole).sum()),
    }
    kept = found & whole
    return Samples(rows[kept], targets[kept], {why: count for why, count in left_out.items() if count})


def require_apart(samples: dict[str, Samples], times: Times) -> None:
    """Refuse splits in which a state is a target of the training and of an evaluation.

    Raises:
        DataError: it says how many, and the first.
    """
    trained = np.unique(samples["train"].targets)
    for split in ("val", "test"):
        both = np.intersect1d(trained, samples[split].targets)
        if len(both):
            raise DataError(
                f"{len(both)} states are targets of data.train and of data.{split}, the first of "
                f"{np.datetime64(int(times[both[0]]), 's')}: ranges of dates must not overlap"
            )
