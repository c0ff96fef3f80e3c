"""States of weather as samples, and states to predict from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.errors import DataError
from lab.tasks.operator_learning.data.samples import FieldSample
from lab.tasks.operator_learning.data.weather.files import StateNumbers
from lab.tasks.operator_learning.data.weather.forcings import Forcings
from lab.tasks.operator_learning.data.weather.series import FieldSeries
from lab.tasks.operator_learning.data.weather.splits import Samples


@dataclass(frozen=True)
class Climatology:
    """The mean state of each group of times.

    Attributes:
        means: (G, C, H, W).
        groups: (T,) the group of each state of the series.
    """

    means: npt.NDArray[np.float32]
    groups: StateNumbers

    def of(self, numbers: StateNumbers) -> Tensor:
        """Return the means (N, C, H, W) for states of the series."""
        return torch.from_numpy(np.array(self.means[self.groups[numbers]]))


class WeatherDataset:
    """Samples of a split as a ``KeyedDataset``; a sample is read when it is asked for, whatever the epoch.

    Args:
        series: the states.
        samples: starts and targets.
        forcings: of each step.
        climatology: of the targets; None in training.
        content: a fingerprint of the files.
    """

    aspect_ratios = None

    def __init__(
        self,
        series: FieldSeries,
        samples: Samples,
        forcings: Forcings,
        climatology: Climatology | None,
        content: str,
    ) -> None:
        self.series, self.samples, self.forcings, self.climatology = series, samples, forcings, climatology
        self._content = content

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.samples.starts)

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the sample for ``(epoch, index)``; the epoch plays no part.

        Raises:
            DataError: a file cannot be read, or has values that are not finite.
        """
        number = key[1]
        start, targets = self.samples.starts[number : number + 1], self.samples.targets[number]
        numbers = np.concatenate([start, targets])
        states = read_finite(self.series, numbers)
        return FieldSample(
            fields=states[0],
            targets=states[1:],
            number=number,
            forcings=self.forcings.at(self.series.times[numbers[:-1]]),
            climatology=None if self.climatology is None else self.climatology.of(targets),
            time=int(self.series.times[start[0]]),
        )

    def fingerprint(self) -> str:
        """Return a hash of files, channels, grid, samples and forcings."""
        parts = (self._content, self.series.channels, self.series.grid, self.forcings.names)
        digest = hashlib.sha256(repr(parts).encode())
        digest.update(self.samples.starts.tobytes() + self.samples.targets.tobytes())
        return digest.hexdigest()


def read_finite(series: FieldSeries, numbers: StateNumbers) -> Tensor:
    """Return states (N, C, H, W).

    Raises:
        DataError: they cannot be read, or have values that are not finite.
    """
    states = series.read(numbers)
    whole = np.isfinite(states).all(axis=(1, 2, 3))
    if not whole.all():
        place = int((~whole).argmax())
        channel = series.channels[int((~np.isfinite(states[place])).any(axis=(1, 2)).argmax())]
        raise DataError(f"{series.name_of(int(numbers[place]))}: {channel!r} has values that are not finite")
    return torch.from_numpy(np.ascontiguousarray(states))


class WeatherInputs:
    """Every state of some files as a ``KeyedDataset`` without targets, for a prediction.

    Args:
        parts: the states of each file.
        forcings_at: returns the forcings of a prediction that begins at a time on the grid of a file.
    """

    aspect_ratios = None

    def __init__(self, parts: Sequence[FieldSeries], forcings_at: Callable[[FieldSeries, int], Tensor | None]) -> None:
        self._parts, self._forcings_at = list(parts), forcings_at
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        """The number of states."""
        return int(self._ends[-1])

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the state at ``(epoch, index)``."""
        which = int(np.searchsorted(self._ends, key[1], side="right"))
        series = self._parts[which]
        row = key[1] - (int(self._ends[which - 1]) if which else 0)
        state = read_finite(series, np.array([row]))[0]
        time = int(series.times[row])
        return FieldSample(state, state.new_empty(0, *state.shape), key[1], self._forcings_at(series, time), None, time)
