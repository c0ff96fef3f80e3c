"""Files of forecasts: NetCDF as xarray reads it, or an ``.npz``; written sample by sample, never whole in memory."""

from __future__ import annotations

import importlib.util
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.errors import ConfigError
from lab.structures.operator_learning import FieldSpec

NAME = "forecast"
NO_TIME = -(2**63)
Values = npt.NDArray[np.float32]


def chosen_format(asked: str) -> str:
    """Return ``netcdf`` or ``npz``.

    Args:
        asked: ``rollout.format``.

    Raises:
        ConfigError: NetCDF is asked for, and what writes it is not installed.
    """
    able = all(importlib.util.find_spec(name) is not None for name in ("xarray", "h5netcdf"))
    if asked == "netcdf" and not able:
        raise ConfigError(
            "rollout.format=netcdf needs xarray and h5netcdf, which are not installed: pip install 'lab[fields]', or "
            "rollout.format=npz"
        )
    return "netcdf" if asked != "npz" and able else "npz"


class ForecastFile(ABC):
    """A file of forecasts that is being written.

    Args:
        folder: where it is written, as ``forecast.nc`` or ``forecast.npz``.
        spec: names the channels.
        shape: (samples, steps, C, *grid).
        times: (samples,) seconds since 1970 of the starts; None where they are not known.
    """

    suffix: str

    def __init__(self, folder: Path, spec: FieldSpec, shape: Sequence[int], times: Sequence[int] | None) -> None:
        self.path = folder / f"{NAME}{self.suffix}"
        self.spec, self.shape, self.times = spec, tuple(shape), times

    @property
    def leads(self) -> npt.NDArray[np.float64]:
        """(steps,) the time from the start to each field, in the unit of the data's step."""
        return np.arange(1, self.shape[1] + 1) * self.spec.step

    @abstractmethod
    def write(self, number: int, fields: Values) -> None:
        """Write a forecast (steps, C, *grid)."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file."""


class NetCDF(ForecastFile):
    """``forecast.nc``: a variable (sample, lead, *grid) for each channel, with its unit."""

    suffix = ".nc"

    def __init__(self, folder: Path, spec: FieldSpec, shape: Sequence[int], times: Sequence[int] | None) -> None:
        import h5netcdf

        super().__init__(folder, spec, shape, times)
        grid = self.shape[3:]
        on_globe = len(grid) == 2 and grid == (len(spec.latitudes), len(spec.longitudes))
        axes = ("latitude", "longitude") if on_globe else ("y", "x")[2 - len(grid) :]
        self._file: Any = h5netcdf.File(self.path, "w")
        self._file.dimensions = {"sample": shape[0], "lead": shape[1], **dict(zip(axes, grid, strict=True))}
        lead = self._variable("lead", ("lead",), self.leads, {"long_name": "time since the start"})
        if spec.step_unit:
            lead.attrs["unit"] = spec.step_unit  # "units" of "h" would make xarray read it as a duration
        if on_globe:
            self._variable("latitude", ("latitude",), np.array(spec.latitudes), {"units": "degrees_north"})
            self._variable("longitude", ("longitude",), np.array(spec.longitudes), {"units": "degrees_east"})
        if times is not None:
            units = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
            self._variable("start", ("sample",), np.array(times, dtype=np.int64), units)
        self._channels = []
        for name, unit in zip(spec.channels, spec.units, strict=True):
            made = self._file.create_variable(name, ("sample", "lead", *axes), np.dtype("f4"))
            made.attrs["units"] = unit
            self._channels.append(made)

    def _variable(self, name: str, axes: tuple[str, ...], values: Any, attributes: dict[str, str]) -> Any:
        made = self._file.create_variable(name, axes, values.dtype, data=values)
        made.attrs.update(attributes)
        return made

    def write(self, number: int, fields: Values) -> None:
        """Write a forecast (steps, C, *grid)."""
        for channel, variable in enumerate(self._channels):
            variable[number] = fields[:, channel]

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


class Npz(ForecastFile):
    """``forecast.npz``: ``forecasts`` (sample, lead, C, *grid), ``channels``, ``units``, ``leads``, and ``starts``."""

    suffix = ".npz"

    def __init__(self, folder: Path, spec: FieldSpec, shape: Sequence[int], times: Sequence[int] | None) -> None:
        super().__init__(folder, spec, shape, times)
        self._part = folder / f".{NAME}.npy"
        self._array = np.lib.format.open_memmap(self._part, mode="w+", dtype=np.float32, shape=self.shape)

    def write(self, number: int, fields: Values) -> None:
        """Write a forecast (steps, C, *grid)."""
        self._array[number] = fields

    def close(self) -> None:
        """Complete the file."""
        self._array.flush()
        del self._array
        texts = {"channels": self.spec.channels, "units": self.spec.units}
        small: dict[str, Any] = {name: np.array(values) for name, values in texts.items()} | {"leads": self.leads}
        if self.times is not None:
            small["starts"] = np.array(self.times, dtype=np.int64)
        np.savez(self.path, **small)
        with zipfile.ZipFile(self.path, "a") as whole:
            whole.write(self._part, "forecasts.npy")
        self._part.unlink()


FORMATS: dict[str, type[ForecastFile]] = {"netcdf": NetCDF, "npz": Npz}
