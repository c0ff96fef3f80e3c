"""Files of fields as one series in the order of time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.errors import DataError, closest
from lab.tasks.operator_learning.data.weather.files import FieldFile, StateArray, StateNumbers, Times
from lab.tasks.operator_learning.data.weather.grid import Grid, Order, align, in_order_of, read_grid, without_last_row

log = logging.getLogger(__name__)
MOST_IN_MEMORY = 256 << 20
"""Series of up to this many bytes are held in memory; longer ones are read state by state."""
BLOCK = 32 << 20
"""Bytes of the states that are read at once where all are read."""


@dataclass(frozen=True)
class Column:
    """Where the states of some channels are.

    Attributes:
        channels: the places of these channels among those of the series.
        files: (T,) the number of the file that has each state.
        rows: (T,) its row there.
    """

    channels: tuple[int, ...]
    files: StateNumbers
    rows: StateNumbers


class FieldSeries:
    """States (C, H, W) in the order of time, from files of one grid that are read lazily.

    Files may follow each other in time (a year each), and may hold different channels (a variable each): a state is a
    time that all channels have. Files from south to north, or of longitudes from -180, are put in the order of the
    first. What is unsorted, double or without all channels is counted and said.

    Args:
        files: at least one.
        channels: the names of the C channels, in their order; None: those of the first file.
        drop_last_row: leave out the southernmost row.
        like: the grid that a network was trained on: one of its shape must be the same, and is put in its order.

    Raises:
        DataError: a channel is in no file, grids differ, or no time has all channels.

    Attributes:
        channels: the names of the C channels.
        units: their units.
        grid: of the states.
        times: (T,) seconds since 1970, rising.
        notes: how many states were unsorted, double or incomplete.
    """

    def __init__(
        self,
        files: Sequence[FieldFile],
        channels: Sequence[str] | None = None,
        drop_last_row: bool = False,
        like: Grid | None = None,
    ) -> None:
        self.files, self.notes = list(files), dict[str, int]()
        first = self.files[0]
        self.channels = tuple(channels or _all_channels(self.files))
        units = {name: unit for file in self.files for name, unit in zip(file.channels, file.units, strict=True)}
        missing = [name for name in self.channels if name not in units]
        if missing:
            raise DataError(
                f"{first.source}: no file has the variable {missing[0]!r}, only {', '.join(units)}"
                f"{closest(missing[0], units)}; data.variables names them"
            )
        self.units = tuple(units[name] for name in self.channels)
        self.grid, self._orders = _one_grid(self.files, drop_last_row, like)
        self.times, self._columns = self._joined()
        self._held: StateArray | None = None

    def __len__(self) -> int:
        """T."""
        return len(self.times)

    @property
    def state_bytes(self) -> int:
        """The bytes of a state."""
        return 4 * len(self.channels) * self.grid.shape[0] * self.grid.shape[1]

    def hold(self) -> None:
        """Read all states into memory, if they are few."""
        if self._held is None and len(self) * self.state_bytes <= MOST_IN_MEMORY:
            self._held = self.read(np.arange(len(self)))

    def read(self, numbers: StateNumbers) -> StateArray:
        """Return states (N, C, H, W) by their numbers in time.

        Raises:
            DataError: a file cannot be read.
        """
        if self._held is not None:
            return self._held[numbers]
        found = np.empty((len(numbers), len(self.channels), *self.grid.shape), dtype=np.float32)
        for column in self._columns:
            files, rows = column.files[numbers], column.rows[numbers]
            breaks = np.flatnonzero((np.diff(files) != 0) | (np.diff(rows) != 1)) + 1
            for part in np.split(np.arange(len(numbers)), breaks) if len(numbers) else []:
                file = self.files[files[part[0]]]
                states = self._orders[files[part[0]]].apply(file.read(int(rows[part[0]]), int(rows[part[-1]]) + 1))
                places = [file.channels.index(self.channels[channel]) for channel in column.channels]
                found[part[0] : part[-1] + 1, list(column.channels)] = states[:, places]
        return found

    def blocks(self, numbers: StateNumbers) -> Iterator[tuple[StateNumbers, StateArray]]:
        """Yield states in blocks that fit into memory, with their numbers."""
        size = max(1, BLOCK // self.state_bytes)
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size], self.read(numbers[start : start + size])

    def name_of(self, number: int) -> str:
        """Return the file and the time of a state, for messages."""
        source = self.files[int(self._columns[0].files[number])].source
        return f"{source} at {np.datetime64(int(self.times[number]), 's')}"

    @cached_property
    def step(self) -> int:
        """The most frequent time between two states, in seconds; 0 of a single one."""
        if len(self) < 2:
            return 0
        steps, counts = np.unique(np.diff(self.times), return_counts=True)
        return int(steps[counts.argmax()])

    def _joined(self) -> tuple[Times, list[Column]]:
        """Return the times that all channels have, and where the states are."""
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, file in enumerate(self.files):
            names = tuple(name for name in self.channels if name in file.channels)
            groups.setdefault(names, []).append(number)
        found = [(names, *self._sorted(numbers)) for names, numbers in groups.items()]
        common = found[0][1]
        for _, times, _, _ in found[1:]:
            common = np.intersect1d(common, times)
        incomplete = max(len(times) for _, times, _, _ in found) - len(common)
        if incomplete:
            self.notes["without all variables"] = incomplete
        if not len(common):
            raise DataError(
                f"{self.files[0].source}: no time has all of {', '.join(self.channels)}; "
                "the files of each variable are of other times"
            )
        columns, taken = [], set[str]()
        for names, times, files, rows in found:
            at = np.searchsorted(times, common)
            places = tuple(place for place, name in enumerate(self.channels) if name in names and name not in taken)
            taken.update(names)
            columns.append(Column(places, files[at], rows[at]))
        return common, columns

    def _sorted(self, numbers: Sequence[int]) -> tuple[Times, StateNumbers, StateNumbers]:
        """Return times, files and rows of the states of some files, sorted, each time once."""
        times = np.concatenate([self.files[number].times for number in numbers])
        files = np.concatenate([np.full(len(self.files[number].times), number) for number in numbers])
        rows = np.concatenate([np.arange(len(self.files[number].times)) for number in numbers])
        unsorted = sum(int((np.diff(self.files[number].times) < 0).sum()) for number in numbers)
        if unsorted:
            self.notes["earlier than the one before, sorted"] = unsorted
        order = np.argsort(times, kind="stable")
        times, files, rows = times[order], files[order], rows[order]
        fresh = np.ones(len(times), dtype=bool)
        fresh[1:] = np.diff(times) > 0
        if not fresh.all():
            self.notes["of a time that another one has, left out"] = int((~fresh).sum())
        return times[fresh], files[fresh], rows[fresh]


def _all_channels(files: Sequence[FieldFile]) -> list[str]:
    return list(dict.fromkeys(name for file in files for name in file.channels))


def _one_grid(files: Sequence[FieldFile], drop_last_row: bool, like: Grid | None) -> tuple[Grid, list[Order]]:
    """Return the grid of the first file, its columns in the order of ``like``, and what puts each file on it."""
    orders: list[Order] = []
    first: Grid | None = None
    turned = 0
    for file in files:
        where = str(file.source)
        grid, order = read_grid(file.latitudes, file.longitudes, file.coordinate_units, where)
        if first is None and like is None:
            first = grid
        else:
            first = first or in_order_of(grid, order, like, drop_last_row, where)
            order = align(grid, order, first, where, str(files[0].source))
            turned += order.shift != 0 or order.flipped != (orders or [order])[0].flipped
        if drop_last_row:
            order = Order(order.flipped, order.shift, first.shape[0] - 1)
        orders.append(order)
    assert first is not None
    if turned:
        whose = files[0].source if like is None else "what the network was trained on"
        log.warning("%d of %d files have rows or columns in another order than %s", turned, len(files), whose)
    return without_last_row(first) if drop_last_row else first, orders
