"""``data=fourcastnet``: the HDF5 files of FourCastNet (Pathak et al., 2022, section 2; NVlabs/FourCastNet).

A file holds the year of its name: ``fields`` (T, C, 721, 1440) every six hours from 1 January, from 90 degrees north
and 0 degrees east. ``global_means.npy`` and ``global_stds.npy`` (1, C, 1, 1) normalise, ``time_means.npy``
(1, C, 721, 1440) is the climatology. The original drops row 721, the south pole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.checking import check_choice
from lab.data.numpy_arrays import read_array
from lab.errors import ConfigError, DataError, closest
from lab.ranges import Word
from lab.tasks.operator_learning.data.weather.content import find_files
from lab.tasks.operator_learning.data.weather.files import FieldFile, StateNumbers
from lab.tasks.operator_learning.data.weather.hdf5_file import YearFile
from lab.tasks.operator_learning.data.weather.module import SPLITS, WeatherDataModule
from lab.tasks.operator_learning.data.weather.splits import Samples
from lab.tasks.operator_learning.data.weather.statistics import Statistics

SUFFIXES = (".h5", ".hdf5")
YEAR_ENDS = ("by_time", "published")


@dataclass(eq=False)
class FourCastNetDataModule(WeatherDataModule):
    """FourCastNet's HDF5 files: a folder of years for each split, and statistics in ``.npy``.

    Args:
        channels: the names of the channels of ``fields``, in their order.
        variables: the channels to use, of these; None: all.
        train: the folder of the years to train on, in ``root``.
        val: likewise, to validate on.
        test: likewise, to test on.
        means: the file of means (1, C, 1, 1), in ``root``.
        stds: the file of deviations, likewise.
        time_means: the file of the climatology (1, C, H, W), likewise; None: there is none.
        file_hours: hours between two states of a file.
        year_ends: what a training sample at the end of a year has as its target: ``by_time`` the state of that time in
            the next year's file, and no sample where there is none; ``published``, as the original: its own start for
            one step, and for two steps the last sample that has both.

    Raises:
        ConfigError: ``variables`` has another name than ``channels``, or ``published`` is for more than two steps.
    """

    channels: Sequence[str]
    _: KW_ONLY
    variables: Sequence[str] | None = None
    train: Word = "train"
    val: Word = "test"
    test: Word = "out_of_sample"
    means: Word = "global_means.npy"
    stds: Word = "global_stds.npy"
    time_means: Word | None = "time_means.npy"
    file_hours: float = 6.0
    year_ends: Word = "by_time"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("data.year_ends", self.year_ends, YEAR_ENDS)
        if self.year_ends == "published" and self.train_steps > 2:
            raise ConfigError(f"data.year_ends=published is for one step or two, not {self.train_steps}")
        for name in self.variables or ():
            if name not in self.channels:
                listed = ", ".join(self.channels)
                raise ConfigError(
                    f"data.variables: {name!r} is none of data.channels, {listed}{closest(name, self.channels)}"
                )

    @property
    def wanted(self) -> Sequence[str]:
        """The channels in their order."""
        return self.variables or self.channels

    @cached_property
    def _files(self) -> dict[str, list[YearFile]]:
        folders = {"train": self.train, "val": self.val, "test": self.test}
        return {
            split: [
                YearFile(path, self.channels, self.wanted, self.file_hours)
                for path in find_files(self.folder / folders[split], None, SUFFIXES, f"data.{split}")
            ]
            for split in SPLITS
        }

    def open_files(self) -> list[FieldFile]:
        """Open the years of all splits, lazily; a file of two splits once."""
        return list({file.source: file for files in self._files.values() for file in files}.values())

    def rows_of(self, split: str) -> StateNumbers:
        """Return the numbers of the states in the files of a split."""
        mine = np.unique(np.concatenate([file.times for file in self._files[split]]))
        return np.searchsorted(self.series.times, mine)

    def samples_of_split(self, split: str) -> Samples:
        """Return the samples of a split; in training with the ends of years as published, if that is asked."""
        if split != "train" or self.year_ends == "by_time":
            return super().samples_of_split(split)
        ahead = round(self.step_hours / self.file_hours)
        parts = [self._published(file, ahead) for file in self._files["train"]]
        return Samples(np.concatenate([start for start, _ in parts]), np.concatenate([after for _, after in parts]))

    def _published(self, file: YearFile, ahead: int) -> tuple[StateNumbers, StateNumbers]:
        """Return starts and targets of a year as the original has them: as many samples as states."""
        numbers = np.searchsorted(self.series.times, file.times)
        rows, count = np.arange(len(numbers)), len(numbers)
        if count < 3 * ahead:
            raise DataError(f"{file.source}: has {count} states, and data.year_ends=published needs {3 * ahead}")
        if self.train_steps == 2:
            rows = np.where(rows >= count - 2 * ahead, count - 3 * ahead, rows)
            return numbers[rows], np.stack([numbers[rows + ahead], numbers[rows + 2 * ahead]], axis=1)
        after = np.where(rows >= count - ahead, rows, np.minimum(rows + ahead, count - 1))
        return numbers, numbers[after][:, None]

    def make_statistics(self) -> Statistics:
        """Return means, deviations and climatology of the files; values are checked when they are read.

        Raises:
            DataError: a file is missing or of another shape, or a deviation is not above 0.
        """
        series = self.series
        places = [list(self.channels).index(name) for name in series.channels]
        means, stds = (self._numbers(name, places) for name in (self.means, self.stds))
        if not (stds > 0).all():
            raise DataError(f"{self.folder / self.stds}: a deviation is not above 0")
        height, width = series.grid.shape
        climatology = np.full((1, len(places), height, width), np.nan, dtype=np.float32)
        if self.time_means is not None:
            found = read_array(self.folder / self.time_means)
            rows = len(series.files[0].latitudes)
            if (
                found.ndim != 4
                or found.shape[1] <= max(places)
                or found.shape[2:] not in ((rows, width), (height, width))
            ):
                raise DataError(
                    f"{self.folder / self.time_means}: its shape is {found.shape}, and (1, {len(self.channels)}, "
                    f"{rows}, {width}) is read"
                )
            climatology = found[:1, places, :height].astype(np.float32)
        usable = np.ones(len(series), dtype=bool)
        return Statistics(tuple(means.tolist()), tuple(stds.tolist()), (), climatology, usable)

    def _numbers(self, name: str, places: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the numbers of the used channels of a file (1, C, 1, 1)."""
        path = self.folder / name
        found: npt.NDArray[Any] = np.asarray(read_array(path), dtype=np.float64)
        if found.size != found.shape[1 if found.ndim > 1 else 0] or found.size <= max(places):
            raise DataError(f"{path}: its shape is {found.shape}, and (1, {len(self.channels)}, 1, 1) is read")
        return found.reshape(-1)[places]
