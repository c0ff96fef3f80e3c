"""Small files of weather, written by xarray and h5py."""

from pathlib import Path

import numpy as np

LATITUDES = np.linspace(60, 50, 6)
LONGITUDES = np.linspace(-10, 4, 8)


def hours(first: str, count: int, every: int = 6) -> np.ndarray:
    """Return dates of NumPy."""
    return np.datetime64(first, "ns") + np.arange(count) * np.timedelta64(every, "h")


def states(times: np.ndarray, latitudes: np.ndarray = LATITUDES, longitudes: np.ndarray = LONGITUDES) -> np.ndarray:
    """Return a temperature that tells when and where it is: a daily wave, warmer in the south and the east."""
    angle = 2 * np.pi * (times.astype("datetime64[s]").astype(np.int64) % 86400) / 86400
    drift = (times.astype("datetime64[s]").astype(np.int64) // 3600) % 1000 / 100
    field = 280 + 5 * np.sin(angle)[:, None, None] + drift[:, None, None]
    return field - 0.1 * latitudes[:, None] + 0.05 * (longitudes % 360)


def dataset(times, latitudes=LATITUDES, longitudes=LONGITUDES, name="t2m", values=None, names=("time", "lat", "lon")):
    """Return a dataset of xarray with one variable."""
    import xarray

    values = states(times, latitudes, longitudes) if values is None else values
    time, lat, lon = names
    return xarray.Dataset(
        {name: (names, values.astype(np.float32), {"units": "K"})},
        coords={
            time: times,
            lat: (lat, latitudes, {"units": "degrees_north"}),
            lon: (lon, longitudes, {"units": "degrees_east"}),
        },
    )


def netcdf(path: Path, times, **options) -> Path:
    """Write a NetCDF-4 file, a new one where a module may have the old one open."""
    path.unlink(missing_ok=True)
    dataset(times, **options).to_netcdf(path, engine="h5netcdf")
    return path


def year_file(path: Path, count: int, channels: int = 3, height: int = 9, width: int = 16) -> np.ndarray:
    """Write a year as FourCastNet has it, and return its fields."""
    import h5py

    fields = np.random.default_rng(count).normal(size=(count, channels, height, width)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["fields"] = fields
    return fields
