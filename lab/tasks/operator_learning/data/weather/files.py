"""The interface of files of fields with dates, and which class reads a file: its first bytes decide."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lab.checking import check_file
from lab.errors import DataError

FieldArray = npt.NDArray[np.float32]
Times = npt.NDArray[np.int64]
StateNumbers = npt.NDArray[np.int64]

HDF5, GRIB, ZIP = b"\x89HDF", b"GRIB", b"PK\x03\x04"
NETCDF3 = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
SUFFIXES = frozenset({".nc", ".nc4", ".cdf", ".netcdf", ".zarr", ".npz", ".grib", ".grb", ".grib2"})
UNITS = {
    **dict.fromkeys(("t2m", "d2m", "skt", "sst", "t"), "K"),
    **dict.fromkeys(("u10", "v10", "u100", "v100", "u", "v"), "m s**-1"),
    **dict.fromkeys(("sp", "msl"), "Pa"),
    **dict.fromkeys(("z",), "m**2 s**-2"),
    **dict.fromkeys(("tcwv",), "kg m**-2"),
    **dict.fromkeys(("r",), "%"),
    **dict.fromkeys(("tp",), "m"),
}
"""The units of ERA5's short names, where a file says none."""


class FieldFile(ABC):
    """A file of fields: C channels on a grid at T times, read lazily.

    Attributes:
        source: its path, for messages.
        channels: the names of the C channels that it has of those that are wanted.
        units: their units; an empty text where neither the file nor ERA5's names tell.
        times: (T,) int64 seconds since 1970, as stored: of any order.
        latitudes: as stored.
        longitudes: as stored.
        coordinate_units: of latitudes and longitudes; empty where the file says none.
    """

    source: Path
    channels: tuple[str, ...]
    units: tuple[str, ...]
    times: Times
    latitudes: npt.NDArray[np.float64]
    longitudes: npt.NDArray[np.float64]
    coordinate_units: tuple[str, str] = ("", "")

    @abstractmethod
    def read(self, first: int, last: int) -> FieldArray:
        """Return the states (last - first, C, H, W) of consecutive rows, as stored.

        Raises:
            DataError: they cannot be read.
        """


def open_fields(path: Path, wanted: Sequence[str] | None) -> FieldFile:
    """Open a file of fields.

    Args:
        path: a NetCDF file of any version, a folder of Zarr, an ``.npz``, or GRIB if cfgrib is installed.
        wanted: the channels, ``t2m`` or ``z@500``; a file may have a part of them. None: all that it has.

    Raises:
        DataError: it is none of these, or has no fields with dates.
    """
    from lab.tasks.operator_learning.data.weather.npz_file import NpzFile
    from lab.tasks.operator_learning.data.weather.xarray_file import XarrayFile

    if path.is_dir():
        if not any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata")):
            raise DataError(f"{path}: is a folder, and no store of Zarr, which has a zarr.json or a .zgroup")
        return XarrayFile(path, "zarr", wanted)
    check_file(path, may_be_empty=False)
    with path.open("rb") as file:
        head = file.read(4)
    if head == ZIP:
        return NpzFile(path, wanted)
    if head == GRIB:
        if importlib.util.find_spec("cfgrib") is None:
            raise DataError(
                f"{path}: is GRIB, which is read if cfgrib is installed (pip install cfgrib); or convert it to NetCDF "
                "by grib_to_netcdf"
            )
        return XarrayFile(path, "cfgrib", wanted)
    if head == HDF5 or head in NETCDF3:
        return XarrayFile(path, "h5netcdf" if head == HDF5 else "scipy", wanted)
    raise DataError(f"{path}: begins with {head.hex(' ')}, and NetCDF, Zarr, .npz and GRIB are read")


def split_channel(name: str, key: str = "data.variables") -> tuple[str, float | None]:
    """Return variable and level of a channel's name: ``z@500`` is ``z`` at 500; a name without ``@`` has no level.

    Raises:
        DataError: the level is no number.
    """
    variable, at, level = name.partition("@")
    try:
        return variable, float(level) if at else None
    except ValueError as error:
        raise DataError(f"{key}: {name!r} names a level by a number after the @, as z@500") from error


def unit_of(variable: str, stored: str) -> str:
    """Return the unit of a variable: the stored one, else that of ERA5's variable of this name."""
    return stored or UNITS.get(variable, "")
