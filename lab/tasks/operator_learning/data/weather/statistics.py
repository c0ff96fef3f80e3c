"""Statistics of the training states: mean and deviation of each channel, climatology, and which states are whole.

They are computed in one pass over the states of all splits, block by block, and kept in the cache of datasets under a
fingerprint of the files' content and of what was asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.data.cached import COMPLETE, made_once
from lab.errors import ConfigError, DataError
from lab.system.files import write_text
from lab.tasks.operator_learning.data.weather.files import StateNumbers, Times
from lab.tasks.operator_learning.data.weather.series import FieldSeries

PARTS = ("month", "day", "hour")
"""What the states of a climatology may have in common: the month or the day of the year, the hour of the day."""
ENOUGH = 3
"""Training states in every group, so that a climatology is divided by itself into such groups."""
HOURS, DAY = 24, 86400


@dataclass(frozen=True)
class Statistics:
    """What the training states tell.

    Attributes:
        means: (C) of each channel, all points alike.
        stds: (C) likewise.
        parts: how the climatology is divided; none: one mean for all times.
        climatology: (G, C, H, W) float32 the mean of each group; a group that no training state has is NaN.
        usable: (T,) whether a state of the series has only finite values.
    """

    means: tuple[float, ...]
    stds: tuple[float, ...]
    parts: tuple[str, ...]
    climatology: npt.NDArray[np.float32]
    usable: npt.NDArray[np.bool_]


def groups_of(times: Times, parts: Sequence[str]) -> tuple[StateNumbers, int]:
    """Return the group (T,) of each time, and the number of groups.

    Args:
        times: seconds since 1970.
        parts: of ``PARTS``.
    """
    dates = times.astype("datetime64[s]")
    numbers, count = np.zeros(len(times), dtype=np.int64), 1
    for part in parts:
        if part == "hour":
            value, size = times % DAY // 3600, HOURS
        elif part == "month":
            value, size = dates.astype("datetime64[M]").astype(np.int64) % 12, 12
        else:
            year = dates.astype("datetime64[Y]")
            value, size = (dates.astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64), 366
        numbers, count = numbers * size + value, count * size
    return numbers, count


def choose_parts(given: Sequence[str] | None, times: Times, step: float) -> tuple[str, ...]:
    """Return how the climatology is divided.

    Args:
        given: as the user names it; None: by month if the training has every month, and by hour if steps are parts of
            a day, where each group then has ``ENOUGH`` training states.
        times: of the training states.
        step: the seconds of a step.

    Raises:
        ConfigError: a part is unknown, or months and days are both named.
    """
    if given is not None:
        wrong = [part for part in given if part not in PARTS]
        if wrong or {"month", "day"} <= set(given) or len(set(given)) < len(given):
            raise ConfigError(
                f"data.climatology={list(given)}: give some of {', '.join(PARTS)} (month or day of the year, hour of "
                "the day), [] for the mean of all times, or null to choose by the data"
            )
        return tuple(given)
    found: list[str] = []
    for part in ("month", "hour"):
        groups, count = groups_of(times, [*found, part])
        states = np.bincount(groups, minlength=count)
        present = states[states > 0]
        enough = len(present) > 1 and present.min() >= ENOUGH
        if part == "month" and enough and (states > 0).all():
            found.append(part)
        if part == "hour" and enough and step < DAY:
            found.append(part)
    return tuple(found)


def compute(
    series: FieldSeries, training: StateNumbers, used: StateNumbers, parts: Sequence[str], content: str
) -> tuple[Statistics, bool]:
    """Return the statistics of a series, from the cache where they are.

    Args:
        series: the states.
        training: the numbers of the training states.
        used: the numbers of the states of all splits, rising.
        parts: how the climatology is divided.
        content: a fingerprint of the files' content, of the channels and the grid.

    Returns:
        The statistics, and whether they were computed just now.

    Raises:
        DataError: no training state is whole, or a channel is constant; or the cache cannot be written to.
    """
    asked = f"fields-1\0{content}\0{training.tolist()}\0{used.tolist()}\0{list(parts)}"
    key = hashlib.sha256(asked.encode()).hexdigest()
    fresh: list[bool] = []

    def make(folder: Path) -> None:
        fresh.append(True)
        _write(folder, series, training, used, parts)

    folder = made_once(key, make, "fields")
    numbers: dict[str, Any] = json.loads((folder / COMPLETE).read_text())
    climatology = np.load(folder / "climatology.npy", mmap_mode="r")
    usable = np.load(folder / "usable.npy")
    means, stds = tuple(numbers["means"]), tuple(numbers["stds"])
    return Statistics(means, stds, tuple(parts), climatology, usable), bool(fresh)


def _write(folder: Path, series: FieldSeries, training: StateNumbers, used: StateNumbers, parts: Sequence[str]) -> None:
    groups, count = groups_of(series.times, parts)
    is_training = np.zeros(len(series), dtype=bool)
    is_training[training] = True
    usable = np.zeros(len(series), dtype=bool)
    sums = _Sums(folder, count, (len(series.channels), *series.grid.shape))
    for numbers, states in series.blocks(used):
        whole = np.asarray(np.isfinite(states).all(axis=(1, 2, 3)))
        usable[numbers] = whole
        sums.broken = sums.broken or _first_broken(series, numbers, states, whole)
        chosen = np.flatnonzero(whole & is_training[numbers])
        if len(chosen):
            sums.add(states[chosen], groups[numbers[chosen]])
    means, stds = sums.finish(series)
    np.save(folder / "usable.npy", usable)
    write_text(folder / COMPLETE, json.dumps({"means": means, "stds": stds, "parts": list(parts)}))


def _first_broken(
    series: FieldSeries, numbers: StateNumbers, states: npt.NDArray[np.float32], whole: npt.NDArray[np.bool_]
) -> str:
    """Return where a value is not finite, or ``""``."""
    if whole.all():
        return ""
    number = int((~whole).argmax())
    channel = int((~np.isfinite(states[number])).any(axis=(1, 2)).argmax())
    return f"{series.channels[channel]!r} in {series.name_of(int(numbers[number]))}"


class _Sums:
    """Sums over training states, in float64; those of the climatology are on disk, as they may be large."""

    def __init__(self, folder: Path, count: int, shape: tuple[int, ...]) -> None:
        self.folder, self.broken = folder, ""
        self.states = np.zeros(count, dtype=np.int64)
        self.path = folder / "sums.npy"
        self.sums = np.lib.format.open_memmap(self.path, mode="w+", dtype=np.float64, shape=(count, *shape))
        self.shift: npt.NDArray[np.float64] | None = None
        self.first, self.second = np.zeros(shape[0]), np.zeros(shape[0])

    def add(self, states: npt.NDArray[np.float32], groups: StateNumbers) -> None:
        """Add states (N, C, H, W) of some groups."""
        if self.shift is None:  # near the mean, so that squares keep their digits
            self.shift = states[0].mean(axis=(1, 2), dtype=np.float64)
        for state, group in zip(states, groups, strict=True):
            apart = state - self.shift[:, None, None]
            self.first += apart.sum(axis=(1, 2))
            self.second += np.einsum("chw,chw->c", apart, apart)
            self.sums[group] += apart
            self.states[group] += 1

    def finish(self, series: FieldSeries) -> tuple[list[float], list[float]]:
        """Write the climatology, and return means and deviations of the channels."""
        if self.shift is None:
            raise DataError(
                f"{series.files[0].source}: every state of data.train has values that are not finite, the first in "
                f"{self.broken}; name other variables by data.variables"
            )
        points = int(self.states.sum()) * series.grid.shape[0] * series.grid.shape[1]
        means = self.first / points
        stds = np.sqrt(np.maximum(self.second / points - means**2, 0))
        for name, mean, std in zip(series.channels, means + self.shift, stds, strict=True):
            if not std > 1e-7 * abs(mean):  # the rounding of float32
                raise DataError(
                    f"{series.files[0].source}: {name!r} is the same at every point and time of data.train; leave it "
                    "out of data.variables"
                )
        found = np.lib.format.open_memmap(
            self.folder / "climatology.npy", mode="w+", dtype=np.float32, shape=self.sums.shape
        )
        for group, states in enumerate(self.states):
            found[group] = self.sums[group] / states + self.shift[:, None, None] if states else np.nan
        found.flush()
        del self.sums, found
        self.path.unlink()
        return (means + self.shift).tolist(), stds.tolist()
