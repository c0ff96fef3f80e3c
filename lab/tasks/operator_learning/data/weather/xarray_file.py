"""Fields in NetCDF, Zarr and GRIB, through xarray. Nothing but coordinates is read before it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.errors import DataError, closest
from lab.tasks.operator_learning.data.weather.files import FieldArray, FieldFile, split_channel, unit_of

EXTRA = {"h5netcdf": "h5netcdf", "zarr": "zarr", "scipy": "scipy", "cfgrib": "cfgrib"}
TIMES = ("valid_time", "time", "t", "date")
LATITUDES, LONGITUDES = ("latitude", "lat", "y", "nav_lat"), ("longitude", "lon", "x", "nav_lon")


@dataclass(frozen=True)
class Axes:
    """The names of a variable's axes.

    Attributes:
        time: of dates.
        latitude: of rows.
        longitude: of columns.
        level: of levels; None where there are none.
        single: axes of one place.
    """

    time: str | None
    latitude: str
    longitude: str
    level: str | None = None
    single: tuple[str, ...] = ()


@dataclass(frozen=True)
class Channel:
    """Where a channel stands in the file.

    Attributes:
        variable: its name.
        axes: of the variable.
        level: the place on the axis of levels; None where there is none.
    """

    variable: str
    axes: Axes
    level: int | None = None


class XarrayFile(FieldFile):
    """A file, or a folder of Zarr, that xarray opens; packed values (``scale_factor``, ``add_offset``) are unpacked.

    Args:
        path: see there.
        engine: xarray's reader: ``h5netcdf``, ``scipy``, ``zarr`` or ``cfgrib``.
        wanted: the channels, ``t2m`` or ``z@500``; None: every variable with dates on a grid, on all levels.

    Raises:
        DataError: it cannot be opened, has none of the channels, no dates, a level that is not there, or an axis that
            cannot be read; or xarray is missing.
    """

    def __init__(self, path: Path, engine: str, wanted: Sequence[str] | None) -> None:
        self.source, self._engine = path, engine
        self._opened: tuple[int, Any] | None = None
        dataset = self._dataset()
        self._places = _channels(dataset, wanted, path)
        self.channels = tuple(self._places)
        first = next(iter(self._places.values())).axes
        others = {(place.axes.time, place.axes.latitude, place.axes.longitude) for place in self._places.values()}
        if len(others) > 1:
            raise DataError(f"{path}: its variables have different axes; name some of one grid by data.variables")
        with _reading(path):
            self.times = dataset[first.time].values.astype("datetime64[s]").astype(np.int64)
            self.latitudes, self.longitudes = (
                np.asarray(dataset[name].values, dtype=np.float64) for name in (first.latitude, first.longitude)
            )
        if np.isnat(dataset[first.time].values).any():
            raise DataError(f"{path}: its axis {first.time!r} has times that are missing (NaT)")
        self.coordinate_units = (_unit(dataset[first.latitude]), _unit(dataset[first.longitude]))
        self.units = tuple(unit_of(place.variable, _unit(dataset[place.variable])) for place in self._places.values())

    def read(self, first: int, last: int) -> FieldArray:
        """Return consecutive states."""
        dataset = self._dataset()
        return np.stack([self._field(dataset, place, slice(first, last)) for place in self._places.values()], axis=1)

    def _field(self, dataset: Any, place: Channel, rows: slice) -> FieldArray:
        axes = place.axes
        at: dict[str, Any] = {str(axes.time): rows, **dict.fromkeys(axes.single, 0)}
        if axes.level is not None:
            at[axes.level] = place.level
        with _reading(self.source):
            field = dataset[place.variable].isel(at).transpose(axes.time, axes.latitude, axes.longitude)
            return np.asarray(field.values, dtype=np.float32)

    def _dataset(self) -> Any:
        """Return the opened file; each process opens its own, as handles of HDF5 do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open_dataset(self.source, self._engine))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the open file, for another process."""
        return {**self.__dict__, "_opened": None}


def open_dataset(path: Path, engine: str) -> Any:
    """Open a file by xarray, lazily.

    Raises:
        DataError: xarray or the reader is missing, or the file is damaged.
    """
    try:
        import xarray

        with _reading(path):
            options: dict[str, Any] = {"consolidated": _is_consolidated(path)} if engine == "zarr" else {}
            return xarray.open_dataset(path, engine=engine, decode_timedelta=False, cache=False, **options)
    except ImportError as error:
        raise DataError(
            f"{path}: reading it needs xarray and {EXTRA[engine]} (pip install 'lab[fields]'): {error}"
        ) from error


def _is_consolidated(path: Path) -> bool:
    """Return whether a store of Zarr, of version 2 or 3, has the metadata of all arrays in one file."""
    one = path / "zarr.json"
    return (path / ".zmetadata").is_file() or (one.is_file() and '"consolidated_metadata"' in one.read_text("utf-8"))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises about a file into one line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        words = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read: {words or type(error).__name__}") from error


def _channels(dataset: Any, wanted: Sequence[str] | None, path: Path) -> dict[str, Channel]:
    """Return where the wanted channels stand; those that the file lacks are left out.

    Raises:
        DataError: it has none of them.
    """
    known = {str(name): axes for name in dataset.data_vars if (axes := find_axes(dataset[name], path)) is not None}
    dated = {name: axes for name, axes in known.items() if axes.time is not None}
    if not dated:
        without = f"; {', '.join(known)} has no dates" if known else ""
        raise DataError(
            f"{path}: it has no variable with dates on a grid of latitudes and longitudes, only "
            f"{', '.join(map(str, dataset.data_vars)) or 'nothing'}{without}"
        )
    if wanted is None:
        return {
            name if level is None else f"{name}@{float(dataset[axes.level].values[level]):g}": Channel(
                name, axes, level
            )
            for name, axes in dated.items()
            for level in ([None] if axes.level is None else range(dataset.sizes[axes.level]))
        }
    found = {}
    for channel in wanted:
        name, level = split_channel(channel)
        if name in dated:
            found[channel] = Channel(name, dated[name], _level(dataset, name, dated[name], level, path))
    if not found:
        raise DataError(
            f"{path}: it has none of the variables {', '.join(wanted)}, only {', '.join(dated)}"
            f"{closest(wanted[0], dated)}; data.variables names them"
        )
    return found


def _level(dataset: Any, name: str, axes: Axes, level: float | None, path: Path) -> int | None:
    if axes.level is None:
        if level is not None:
            raise DataError(f"{path}: {name!r} has no levels; name it without @{level:g} in data.variables")
        return None
    levels = np.asarray(dataset[axes.level].values, dtype=np.float64)
    listed = ", ".join(f"{value:g}" for value in levels[:12])
    if level is None:
        raise DataError(f"{path}: {name!r} has the levels {listed}: name one, as {name}@{levels[0]:g}")
    places = np.flatnonzero(np.isclose(levels, level))
    if not len(places):
        raise DataError(f"{path}: {name!r} has no level {level:g}, only {listed}")
    return int(places[0])


def find_axes(variable: Any, path: Path) -> Axes | None:
    """Return the axes of a variable; None: it is on no grid of latitudes and longitudes.

    Raises:
        DataError: it is, and has further axes.
    """
    roles: dict[str, str] = {}
    for name in map(str, variable.dims):
        role = _role(variable, name)
        if role is not None and role not in roles:
            roles[role] = name
    if "latitude" not in roles or "longitude" not in roles:
        return None
    others = [name for name in map(str, variable.dims) if name not in roles.values()]
    single = tuple(name for name in others if variable.sizes[name] == 1)
    levels = [name for name in others if name not in single]
    if len(levels) > 1 or (levels and levels[0] not in variable.coords):
        raise DataError(
            f"{path}: {variable.name!r} has the axes {', '.join(map(str, variable.dims))}, and time, one of levels, "
            "latitude and longitude are read"
        )
    level = levels[0] if levels else None
    return Axes(roles.get("time"), roles["latitude"], roles["longitude"], level, single)


def _role(variable: Any, name: str) -> str | None:
    """Return what an axis is: time, latitude, longitude or None; units and CF's names count more than its own."""
    if name not in variable.coords:
        return None
    coordinate = variable.coords[name]
    if coordinate.dtype.kind == "M":
        return "time"
    said = {str(coordinate.attrs.get("standard_name", "")), _unit(coordinate).lower()}
    for role, units, names in (
        ("latitude", {"latitude", "degrees_north", "degree_north", "degree_n", "degrees_n"}, LATITUDES),
        ("longitude", {"longitude", "degrees_east", "degree_east", "degree_e", "degrees_e"}, LONGITUDES),
    ):
        if said & units or name.lower() in names:
            return role
    return None


def _unit(variable: Any) -> str:
    return str(variable.attrs.get("units", "")).strip()


def read_static(path: Path, engine: str, where: str) -> tuple[FieldArray, Any, Any, tuple[str, str]]:
    """Return the only field without dates of a file, with its latitudes, longitudes and their units.

    Raises:
        DataError: there is none, or several.
    """
    dataset = open_dataset(path, engine)
    known = {str(name): axes for name in dataset.data_vars if (axes := find_axes(dataset[name], path)) is not None}
    fields = {
        name: axes
        for name, axes in known.items()
        if axes.level is None and (axes.time is None or dataset.sizes[axes.time] == 1)
    }
    if len(fields) != 1:
        raise DataError(f"{where}={path}: one field without dates is read, and it has {', '.join(fields) or 'none'}")
    ((name, axes),) = fields.items()
    at = dict.fromkeys((*axes.single, *([axes.time] if axes.time else [])), 0)
    with _reading(path):
        field = dataset[name].isel(at).transpose(axes.latitude, axes.longitude).values.astype(np.float32)
        latitudes, longitudes = (dataset[axis].values.astype(np.float64) for axis in (axes.latitude, axes.longitude))
    return field, latitudes, longitudes, (_unit(dataset[axes.latitude]), _unit(dataset[axes.longitude]))
