"""The base of the DataModules of weather: splits, statistics, forcings, climatology, samples."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from lab.data.numpy_arrays import array_names
from lab.errors import ConfigError, DataError
from lab.ranges import Gt, Word
from lab.structures import DataSpec, KeyedDataset
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.inputs import FIELDS
from lab.tasks.operator_learning.data.module import FieldDataModule
from lab.tasks.operator_learning.data.weather.content import content_of
from lab.tasks.operator_learning.data.weather.dataset import Climatology, WeatherDataset, WeatherInputs
from lab.tasks.operator_learning.data.weather.files import FieldFile, StateNumbers
from lab.tasks.operator_learning.data.weather.forcings import CHANNELS, Forcings, read_orography
from lab.tasks.operator_learning.data.weather.grid import Grid
from lab.tasks.operator_learning.data.weather.opening import open_fields
from lab.tasks.operator_learning.data.weather.series import FieldSeries
from lab.tasks.operator_learning.data.weather.splits import Samples, samples_of
from lab.tasks.operator_learning.data.weather.statistics import Statistics, groups_of

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
HOUR = 3600


@dataclass(eq=False)
class WeatherDataModule(FieldDataModule):
    """Base of the DataModules of weather: a subclass implements ``open_files``, ``rows_of`` and ``make_statistics``.

    Args:
        root: the folder of the files.
        step_hours: hours of a step; a state nearer to that time than a tenth of the time between two counts, as months
            differ.
        forcings: words of ``Forcings``: time_of_day, time_of_year, latitude, longitude, orography.
        orography: the file of heights, relative to ``root``; see ``read_orography``.
        drop_last_row: leave out the southernmost row, as FourCastNet does, so that patches divide the grid.
    """

    sample_name = "state"

    root: Word
    _: KW_ONLY
    step_hours: Annotated[float, Gt(0)] = 6.0
    forcings: Sequence[str] = ()
    orography: Word | None = None
    drop_last_row: bool = False

    @abstractmethod
    def open_files(self) -> list[FieldFile]:
        """Open all files."""

    @abstractmethod
    def rows_of(self, split: str) -> StateNumbers:
        """Return the numbers of the states of a split, rising."""

    @abstractmethod
    def make_statistics(self) -> Statistics:
        """Return the statistics of the training states."""

    @property
    def wanted(self) -> Sequence[str] | None:
        """The channels in their order; None: all of the files."""
        return None

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return Path(self.root)

    @property
    def _trained_on(self) -> Grid | None:
        spec = self._followed
        return None if spec is None or not spec.latitudes else Grid(tuple(spec.latitudes), tuple(spec.longitudes))

    def follow(self, spec: DataSpec) -> None:
        """Normalise as the data of a checkpoint did, and put columns in its order.

        Raises:
            DataError: its network reads or predicts other channels, steps of another length, or other places.
        """
        super().follow(spec)
        if self._trained_on not in (None, self.series.grid):
            for name in ("series", "statistics", "known", "samples"):
                self.__dict__.pop(name, None)

    @cached_property
    def series(self) -> FieldSeries:
        """All states; what was unsorted, double or incomplete is said."""
        series = FieldSeries(self.open_files(), self.wanted, self.drop_last_row, self._trained_on)
        for why, count in series.notes.items():
            log.warning("%s: %d states %s", series.files[0].source, count, why)
        series.hold()
        return series

    @cached_property
    def content(self) -> str:
        """A fingerprint of the files."""
        paths = [file.source for file in self.series.files]
        return content_of([*paths, self.folder / self.orography] if self.orography else paths)

    @cached_property
    def statistics(self) -> Statistics:
        """Means, deviations, climatology and whole states."""
        return self.make_statistics()

    @cached_property
    def known(self) -> Forcings:
        """The forcings, normalised over the grid of the training fields."""
        spec = self._followed
        grid = self.series.grid if spec is None else Grid(spec.latitudes, spec.longitudes)
        field = None
        if self.orography is not None:
            field = read_orography(self.folder / self.orography, grid, grid.shape[0] + self.drop_last_row)
        return Forcings(self.forcings, grid, field)

    @cached_property
    def samples(self) -> dict[str, Samples]:
        """The samples of every split; what was left out is said.

        Raises:
            DataError: a split has no sample.
        """
        return {split: self._found(split) for split in SPLITS}

    def _found(self, split: str) -> Samples:
        samples, rows = self.samples_of_split(split), self.rows_of(split)
        for why, count in samples.left_out.items():
            log.warning("data.%s: %d of %d states begin no sample: %s", split, count, len(rows), why)
        if not len(samples.starts):
            raise DataError(
                f"data.{split}: none of its {len(rows)} states has the states of {self.steps_of(split)} steps of "
                f"{self.step_hours:g} hours after it; the files have a state every {self.series.step / HOUR:g} hours"
            )
        return samples

    def samples_of_split(self, split: str) -> Samples:
        """Return the samples of a split."""
        series, step = self.series, self.step_hours * HOUR
        usable, steps = self.statistics.usable, self.steps_of(split)
        return samples_of(series.times, self.rows_of(split), usable, step, steps, series.step)

    @property
    def outline(self) -> FieldSpec:
        """Channels, forcings and step, without anything that is measured."""
        channels = tuple(self.wanted or self.series.channels)
        nothing = (0.0,) * len(channels)
        return FieldSpec(
            channels=channels,
            units=("",) * len(channels),
            forcings=tuple(name for word in self.forcings for name in CHANNELS.get(word, ())),
            means=nothing,
            stds=(1.0,) * len(channels),
            step=self.step_hours,
            step_unit="h",
        )

    @property
    def own_spec(self) -> FieldSpec:
        """Channels, statistics and grid."""
        series, statistics = self.series, self.statistics
        return FieldSpec(
            input_shape=(len(series.channels) + len(self.known.names), *series.grid.shape),
            channels=series.channels,
            units=series.units,
            forcings=self.known.names,
            means=statistics.means,
            stds=statistics.stds,
            step=self.step_hours,
            step_unit="h",
            latitudes=series.grid.latitudes,
            longitudes=series.grid.longitudes,
            periodic=(1,) if series.grid.periodic else (),
            num_samples=len(self.samples["train"].starts),
        )

    def build(self, split: str) -> WeatherDataset:
        """Return the samples of a split."""
        samples, climatology = self.samples[split], None
        if split != "train":
            statistics = self.statistics
            groups, _ = groups_of(self.series.times, statistics.parts)
            climatology = Climatology(statistics.climatology, groups)
            self._say_unknown(split, climatology, samples)
        return WeatherDataset(self.series, samples, self.known, climatology, self.content)

    def _say_unknown(self, split: str, climatology: Climatology, samples: Samples) -> None:
        """Say how many targets have no climatology."""
        unknown = np.isnan(climatology.means[:, 0, 0, 0])
        count = int(unknown[climatology.groups[samples.targets]].sum())
        if count:
            parts = ", ".join(self.statistics.parts)
            log.warning(
                "data.%s: %d of %d targets have no climatology, as no training state has their %s; its errors are NaN",
                split,
                count,
                samples.targets.size,
                parts,
            )

    def rows_read(self) -> dict[str, dict[str, Any]]:
        """Return for each split the numbers of states and of samples, and why states begin none."""
        return {
            f"data.{split}": {
                "rows": len(self.rows_of(split)),
                "used": len(samples.starts),
                "left_out": dict(samples.left_out),
            }
            for split, samples in self.samples.items()
        }

    def known_forcings(self, grid: tuple[int, ...], time: int | None) -> Tensor | None:
        """Return the forcings of a prediction from an array on the training grid; None on another, or without a date.

        Raises:
            DataError: see ``Forcings.at``.
        """
        known = self.known
        if grid != known.grid.shape or (time is None and known.needs_time):
            return None
        return known.at(self._steps_after(time or 0))

    def _steps_after(self, time: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Return the times at which the steps of a forecast begin."""
        return (time + np.arange(self.eval_steps) * self.step_hours * HOUR).astype(np.int64)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return every state of files of fields with dates; or the arrays that ``FieldInputs`` reads.

        Raises:
            DataError: a file cannot be read, or lacks a channel; or ``paths`` mix both.
        """
        plain = [path.suffix == ".npy" or (path.suffix == ".npz" and FIELDS in array_names(path)) for path in paths]
        if all(plain):
            return super().build_inputs(paths)
        if any(plain):
            raise DataError("input: give files of fields with dates, or arrays of fields, not both")
        channels = self.spec.given or self.spec.channels
        like = self.series.grid if self._followed is None else self._trained_on
        parts = [FieldSeries([open_fields(path, channels)], channels, self.drop_last_row, like) for path in paths]
        shape = parts[0].grid.shape
        for path, part in zip(paths, parts, strict=True):
            if part.grid.shape != shape:
                raise DataError(f"{path}: its grid is {part.grid.describe()}, that of {paths[0]} {shape}")
        return WeatherInputs(parts, lambda part, time: self.known.at(self._steps_after(time), part.grid))


def require_steps(given: float, spacing: int, where: str) -> None:
    """Refuse steps that are shorter than the time between two states.

    Raises:
        ConfigError: see above.
    """
    if spacing and given * HOUR < 0.9 * spacing:
        raise ConfigError(
            f"data.step_hours={given:g}: {where} has a state every {spacing / HOUR:g} hours, no more often"
        )
