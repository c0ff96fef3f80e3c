"""``data=era5`` and ``data=winds``: fields with dates in NetCDF, Zarr, ``.npz`` or GRIB."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lab.errors import ConfigError, DataError
from lab.ranges import Word
from lab.tasks.operator_learning.data.weather.content import find_files
from lab.tasks.operator_learning.data.weather.files import FieldFile, StateNumbers, split_channel
from lab.tasks.operator_learning.data.weather.module import HOUR, SPLITS, WeatherDataModule, require_steps
from lab.tasks.operator_learning.data.weather.opening import SUFFIXES, open_fields
from lab.tasks.operator_learning.data.weather.splits import Samples, parse_range, require_apart, rows_between
from lab.tasks.operator_learning.data.weather.statistics import Statistics, choose_parts, compute

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Era5DataModule(WeatherDataModule):
    """Fields with dates on latitudes and longitudes, split by years or dates.

    Both the start and the targets of a sample are in its split. Means, deviations and the climatology are those of the
    training states; they are computed once and kept in the cache of datasets.

    Args:
        train: the first and the last year, month, day or time to train on, both inclusive.
        val: likewise, to validate on.
        test: likewise, to test on.
        files: names or patterns of the files in ``root``; None: all with a known suffix.
        fallback_root: the folder that is read if ``root`` does not exist.
        variables: the channels in their order, ``t2m`` or ``z@500`` for a level; None: all of the first file.
        climatology: what the states of a mean have in common: some of month, day (of the year) and hour (of the day);
            None: month and hour, as far as the training states are enough.

    Raises:
        ConfigError: a range is none, or a variable is named twice.
    """

    train: Sequence[str | int]
    val: Sequence[str | int]
    test: Sequence[str | int]
    _: KW_ONLY
    files: str | Sequence[str] | None = None
    fallback_root: Word | None = None
    variables: Sequence[str] | None = None
    climatology: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {"train": self.train, "val": self.val, "test": self.test}
        self._ranges = {split: parse_range(given[split], split) for split in SPLITS}
        names = list(self.variables or ())
        for name in names:
            split_channel(name)
        if len(set(names)) < len(names):
            raise ConfigError(f"data.variables={names}: a variable is there twice")

    @property
    def wanted(self) -> Sequence[str] | None:
        """The channels in their order."""
        return self.variables

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        root = Path(self.root)
        return root if self.fallback_root is None or root.exists() else Path(self.fallback_root)

    def open_files(self) -> list[FieldFile]:
        """Open all files, lazily."""
        paths = find_files(self.folder, self.files, SUFFIXES, "data.files")
        return [open_fields(path, self.variables) for path in paths]

    @cached_property
    def _rows(self) -> dict[str, StateNumbers]:
        require_steps(self.step_hours, self.series.step, str(self.series.files[0].source))
        found = {split: rows_between(self.series.times, *self._ranges[split]) for split in SPLITS}
        for split, rows in found.items():
            if not len(rows):
                first, last = (np.datetime64(int(self.series.times[place]), "s") for place in (0, -1))
                raise DataError(f"data.{split}: there is no state in these dates; the files have {first} to {last}")
        return found

    def rows_of(self, split: str) -> StateNumbers:
        """Return the numbers of the states in the dates of a split."""
        return self._rows[split]

    @cached_property
    def samples(self) -> dict[str, Samples]:
        """The samples of every split.

        Raises:
            DataError: a split has none, or a state is a target of the training and of an evaluation.
        """
        found = super().samples
        require_apart(found, self.series.times)
        return found

    def make_statistics(self) -> Statistics:
        """Return means, deviations and climatology of the training states, computed in one pass or from the cache."""
        series, training = self.series, self._rows["train"]
        used = np.unique(np.concatenate(list(self._rows.values())))
        parts = choose_parts(self.climatology, series.times[training], self.step_hours * HOUR)
        content = f"{self.content}\0{series.channels}\0{series.grid}"
        statistics, fresh = compute(series, training, used, parts, content)
        if fresh:
            by = " and ".join(parts) or "no part of the time: one mean"
            log.info("statistics of %d training states, climatology by %s: kept in the cache", len(training), by)
        return statistics
