"""Channels that are known in advance: time of day and year, latitude, longitude, orography; all of deviation near 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.checking import check_choice, check_file
from lab.data.numpy_arrays import read_array
from lab.errors import ConfigError, DataError
from lab.tasks.operator_learning.data.weather.files import FieldArray, Times
from lab.tasks.operator_learning.data.weather.grid import Grid, Order, align, read_grid
from lab.tasks.operator_learning.data.weather.opening import HDF5, NETCDF3
from lab.tasks.operator_learning.data.weather.xarray_file import read_static

CHANNELS = {
    "time_of_day": ("day_sin", "day_cos"),
    "time_of_year": ("year_sin", "year_cos"),
    "latitude": ("latitude_sin",),
    "longitude": ("longitude_sin", "longitude_cos"),
    "orography": ("orography",),
}
"""The channels of each word of ``data.forcings``."""
DAY, YEAR = 86400.0, 365.2425 * 86400.0
BY_TIME = frozenset({"time_of_day", "time_of_year"})


class Forcings:
    """Forcings of a grid at any time.

    The time of the day is the sun's: UTC and a day for 360 degrees of longitude. The year's begins on 1 January. Both
    are given as sine and cosine times the square root of 2; the others have mean 0 and deviation 1 over the grid.

    Args:
        words: of ``CHANNELS``, in the order of their channels.
        grid: of the training fields, by which the others are normalised.
        orography: (H, W) heights on that grid; None without ``orography``.

    Raises:
        ConfigError: a word is unknown or double, or ``orography`` has no file.
        DataError: one is the same everywhere on the grid.
    """

    def __init__(self, words: Sequence[str], grid: Grid, orography: FieldArray | None = None) -> None:
        for word in words:
            check_choice("data.forcings", word, CHANNELS)
        if len(set(words)) < len(words):
            raise ConfigError(f"data.forcings={list(words)}: a word is there twice")
        if "orography" in words and orography is None:
            raise ConfigError("data.forcings has orography: name its file by data.orography")
        self.words, self.grid, self._orography = tuple(words), grid, orography
        self.names = tuple(name for word in words for name in CHANNELS[word])
        self._scales = {name: (float(field.mean()), float(field.std())) for name, field in self._static(grid).items()}
        for name, (_, std) in self._scales.items():
            if not std > 1e-9:
                raise DataError(f"data.forcings: {name} is the same at every point of the grid {grid.describe()}")

    @property
    def needs_time(self) -> bool:
        """Whether they depend on the time."""
        return not BY_TIME.isdisjoint(self.words)

    def at(self, times: Times, grid: Grid | None = None) -> Tensor | None:
        """Return forcings (S, F, H, W) float32 at some times (S,) in seconds since 1970; None where F = 0.

        Args:
            times: see above; they do not matter where nothing depends on the time.
            grid: another grid than that of the training fields.

        Raises:
            DataError: there is orography, which is known on the training grid alone.
        """
        if not self.names:
            return None
        where = grid or self.grid
        if "orography" in self.words and where.shape != self.grid.shape:
            raise DataError(f"orography is known on the grid {self.grid.describe()}, not on {where.describe()}")
        found = np.empty((len(times), len(self.names), *where.shape), dtype=np.float32)
        moving = self._moving(times, where)
        static = self._static(where)
        for place, name in enumerate(self.names):
            if name in moving:
                found[:, place] = moving[name]
            else:
                mean, std = self._scales[name]
                found[:, place] = (static[name] - mean) / std
        return torch.from_numpy(found)

    def _moving(self, times: Times, grid: Grid) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = {}
        if "time_of_day" in self.words:
            angle = 2 * math.pi * ((times % int(DAY))[:, None] / DAY + np.array(grid.longitudes) / 360)
            found["day_sin"], found["day_cos"] = (
                math.sqrt(2) * function(angle)[:, None, :] for function in (np.sin, np.cos)
            )
        if "time_of_year" in self.words:
            start = times.astype("datetime64[s]").astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64)
            angle = 2 * math.pi * (times - start) / YEAR
            found["year_sin"], found["year_cos"] = (
                math.sqrt(2) * function(angle)[:, None, None] for function in (np.sin, np.cos)
            )
        return found

    def _static(self, grid: Grid) -> dict[str, npt.NDArray[Any]]:
        """Return the fields (H, W) that no time changes, not normalised."""
        north = np.broadcast_to(np.sin(np.deg2rad(grid.latitudes))[:, None], grid.shape)
        east = np.deg2rad(np.broadcast_to(np.array(grid.longitudes), grid.shape))
        known = {"latitude_sin": north, "longitude_sin": np.sin(east), "longitude_cos": np.cos(east)}
        if self._orography is not None:
            known["orography"] = self._orography.astype(np.float64)
        return {name: known[name] for name in self.names if name in known}


def read_orography(path: Path, grid: Grid, height: int, key: str = "data.orography") -> FieldArray:
    """Return the heights (H, W) of a grid.

    Args:
        path: an ``.npy`` or an array of an ``.npz`` (``static.npz/z``) of the stored rows and columns; NetCDF with one
            field without dates; or FourCastNet's HDF5 with ``orog``, from north to south.
        grid: of the fields.
        height: the rows of the data's files, of which the grid may lack the last.
        key: the key, for messages.

    Raises:
        DataError: it cannot be read, is of another grid, or has values that are not finite.
    """
    if path.suffix == ".npy" or ".npz" in {path.suffix, path.parent.suffix}:
        field = read_array(path).astype(np.float32).squeeze()
    else:
        check_file(path, may_be_empty=False)
        with path.open("rb") as file:
            head = file.read(4)
        if head != HDF5 and head not in NETCDF3:
            raise DataError(f"{key}={path}: orography is read from NetCDF, HDF5, .npy and .npz")
        found = read_orog(path) if head == HDF5 else None
        field = _on_grid(path, head, grid, height, key) if found is None else found
    if field.shape not in (grid.shape, (height, grid.shape[1])):
        raise DataError(f"{key}={path}: its shape is {field.shape}, and the grid of the fields is {grid.shape}")
    field = field[: grid.shape[0]]
    if not np.isfinite(field).all():
        raise DataError(f"{key}={path}: {int((~np.isfinite(field)).sum())} of its values are not finite")
    return field


def _on_grid(path: Path, head: bytes, grid: Grid, height: int, key: str) -> FieldArray:
    """Return the field of a NetCDF file, in the order of the grid."""
    field, latitudes, longitudes, units = read_static(path, "h5netcdf" if head == HDF5 else "scipy", key)
    own, order = read_grid(latitudes, longitudes, units, f"{key}={path}")
    if own.shape[0] == height > grid.shape[0]:
        own, order = Grid(own.latitudes[:-1], own.longitudes), Order(order.flipped, 0, height - 1)
    return np.ascontiguousarray(align(own, order, grid, f"{key}={path}", "the fields").apply(field))


def read_orog(path: Path) -> FieldArray | None:
    """Return ``orog`` of FourCastNet's HDF5 file; None where there is no such array."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: reading it needs h5py (pip install 'lab[fields]'): {error}") from error
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("orog"), h5py.Dataset) or "DIMENSION_LIST" in file["orog"].attrs:
                return None  # the latter has coordinates: NetCDF
            return np.asarray(file["orog"][()], dtype=np.float32).squeeze()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
