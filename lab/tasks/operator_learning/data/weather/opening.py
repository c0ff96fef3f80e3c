"""Which class reads a file of fields: its first bytes decide, not its name."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from lab.checking import check_file
from lab.errors import DataError
from lab.tasks.operator_learning.data.weather.files import FieldFile
from lab.tasks.operator_learning.data.weather.npz_file import NpzFile
from lab.tasks.operator_learning.data.weather.xarray_file import XarrayFile

HDF5, GRIB, ZIP = b"\x89HDF", b"GRIB", b"PK\x03\x04"
NETCDF3 = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
SUFFIXES = frozenset({".nc", ".nc4", ".cdf", ".netcdf", ".zarr", ".npz", ".grib", ".grb", ".grib2"})


def open_fields(path: Path, wanted: Sequence[str] | None) -> FieldFile:
    """Open a file of fields.

    Args:
        path: a NetCDF file of any version, a folder of Zarr, an ``.npz``, or GRIB if cfgrib is installed.
        wanted: the channels, ``t2m`` or ``z@500``; a file may have a part of them. None: all that it has.

    Raises:
        DataError: it is none of these, or has no fields with dates.
    """
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
