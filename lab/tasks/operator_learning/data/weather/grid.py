"""Grids of latitudes and longitudes: their checks, and how stored rows and columns are put in order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.errors import DataError

CLOSE = 1e-4
"""Degrees by which two coordinates may differ and be the same: files store them as float32."""


@dataclass(frozen=True)
class Grid:
    """A grid of H latitudes and W longitudes.

    Attributes:
        latitudes: (H) degrees north, from north to south.
        longitudes: (W) degrees east, increasing; they may begin below 0 and pass 360.
    """

    latitudes: tuple[float, ...]
    longitudes: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.latitudes), len(self.longitudes)

    @property
    def periodic(self) -> bool:
        """Whether the last longitude neighbours the first."""
        if len(self.longitudes) < 2:
            return False
        step = (self.longitudes[-1] - self.longitudes[0]) / (len(self.longitudes) - 1)
        return math.isclose(self.longitudes[-1] + step, self.longitudes[0] + 360, abs_tol=step / 4)

    def describe(self) -> str:
        """Return its size and corners."""
        height, width = self.shape
        ends = (self.latitudes[0], self.latitudes[-1], self.longitudes[0], self.longitudes[-1])
        north, south, west, east = (f"{value:g}" for value in ends)
        return f"{height} x {width}, latitudes {north} to {south}, longitudes {west} to {east}"


@dataclass(frozen=True)
class Order:
    """How stored rows and columns become those of a grid.

    Attributes:
        flipped: the rows are stored from south to north.
        shift: the stored column that becomes the first one.
        height: rows to keep, from the north; a stored row below them is dropped.
    """

    flipped: bool = False
    shift: int = 0
    height: int | None = None

    def apply(self, fields: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return stored fields (..., H, W) in the order of the grid."""
        if self.flipped:
            fields = fields[..., ::-1, :]
        if self.height is not None:
            fields = fields[..., : self.height, :]
        return np.roll(fields, -self.shift, axis=-1) if self.shift else fields


def read_grid(latitudes: Any, longitudes: Any, units: tuple[str, str], where: str) -> tuple[Grid, Order]:
    """Return the grid of stored coordinates, and the order in which it has the stored rows and columns.

    Args:
        latitudes: (H,) as stored, rising or falling.
        longitudes: (W,) as stored, rising; they may jump back by 360 degrees once.
        units: of latitudes and longitudes; empty where the file says none.
        where: the file, for messages.

    Raises:
        DataError: the coordinates are no degrees, out of range, unsorted or double, or of a grid of two dimensions.
    """
    rows, columns = (np.asarray(values, dtype=np.float64) for values in (latitudes, longitudes))
    for name, values, unit in (("latitude", rows, units[0]), ("longitude", columns, units[1])):
        if values.ndim != 1 or not values.size:
            raise DataError(f"{where}: its {name}s have {values.ndim} dimensions; grids of one axis each are read")
        if unit and not unit.lower().startswith("deg"):
            raise DataError(f"{where}: its {name}s are in {unit!r}, and degrees are read")
        if not np.isfinite(values).all():
            raise DataError(f"{where}: its {name}s have values that are not finite")
    _require_degrees(rows, columns, where)
    flipped = len(rows) > 1 and bool(rows[1] > rows[0])
    rows = rows[::-1] if flipped else rows
    turned = np.flatnonzero(np.diff(columns) < 0)
    if len(turned) == 1:  # 350, 355, 0, 5 or 0, 90, 180, -90
        columns = columns + 360.0 * (np.arange(len(columns)) > turned[0])
    for name, steps in (("latitude", -np.diff(rows)), ("longitude", np.diff(columns))):
        if (steps <= 0).any():
            place = int((steps <= 0).argmax())
            way = "rise or fall" if name == "latitude" else "rise"
            raise DataError(f"{where}: its {name}s do not {way} from each to the next: see number {place + 2}")
    if columns[-1] - columns[0] > 360 - CLOSE and len(columns) > 1:
        raise DataError(
            f"{where}: its longitudes {columns[0]:g} to {columns[-1]:g} go round more than once, so that a column is "
            "there twice; leave the last one out"
        )
    return Grid(tuple(rows.tolist()), tuple(columns.tolist())), Order(flipped)


def _require_degrees(rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64], where: str) -> None:
    """Refuse latitudes and longitudes that cannot be degrees."""
    span_north, span_east = np.ptp(rows), np.ptp(columns)
    small = np.abs(rows).max() <= math.pi / 2 + CLOSE and np.abs(columns).max() <= 2 * math.pi + CLOSE
    if small and (span_north > 2.5 or span_east > 5):
        raise DataError(
            f"{where}: its latitudes {rows[0]:.3f} to {rows[-1]:.3f} and longitudes {columns[0]:.3f} to "
            f"{columns[-1]:.3f} look like radians, and degrees are read"
        )
    if np.abs(rows).max() > 90 + CLOSE:
        raise DataError(
            f"{where}: its latitudes reach {rows[np.abs(rows).argmax()]:g}, beyond 90 degrees; are they longitudes?"
        )
    if columns.min() < -360 - CLOSE or columns.max() > 720 + CLOSE:
        raise DataError(f"{where}: its longitudes {columns.min():g} to {columns.max():g} are no degrees east")


def align(grid: Grid, order: Order, first: Grid, where: str, whose: str) -> Order:
    """Return the order that puts a file on the grid of the first one: -180 to 180 and 0 to 360 are the same columns.

    Args:
        grid: of the file.
        order: of the file, as ``read_grid`` returned it.
        first: the grid of the first file.
        where: the file, for messages.
        whose: the first file.

    Raises:
        DataError: the grids differ.
    """
    if grid.shape == first.shape and np.allclose(grid.latitudes, first.latitudes, atol=CLOSE, rtol=0):
        apart = (np.array(grid.longitudes) - first.longitudes[0]) % 360
        apart = np.minimum(apart, 360 - apart)
        shift = int(apart.argmin())
        moved = np.roll(grid.longitudes, -shift) - np.array(first.longitudes)
        if np.abs((moved + 180) % 360 - 180).max() < CLOSE:
            return replace(order, shift=shift)
    raise DataError(f"{where}: its grid is {grid.describe()}, and that of {whose} {first.describe()}")


def in_order_of(grid: Grid, order: Order, like: Grid | None, drop_last_row: bool, where: str) -> Grid:
    """Return a file's grid with the columns of another one; a grid of another shape stays as it is.

    Args:
        grid: of the file.
        order: of the file.
        like: the other one; None: there is none.
        drop_last_row: whether the other one has a row less.
        where: the file, for messages.

    Raises:
        DataError: both have one shape, and are of other places.
    """
    kept = without_last_row(grid) if drop_last_row else grid
    if like is None or kept.shape != like.shape:
        return grid
    align(kept, order, like, where, "what the network was trained on")
    return replace(grid, longitudes=like.longitudes)


def without_last_row(grid: Grid) -> Grid:
    """Return a grid without its southernmost row, as FourCastNet drops row 721 of ERA5, the south pole."""
    return replace(grid, latitudes=grid.latitudes[:-1])
