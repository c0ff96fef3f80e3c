"""Fields in an ``.npz``: arrays of (T, H, W) beside ``time``, ``lat`` and ``lon``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lab.data.numpy_arrays import array_names, read_array
from lab.errors import DataError, closest
from lab.tasks.operator_learning.data.weather.files import FieldArray, FieldFile, Times, unit_of

NAMES = {"time": ("time", "times", "valid_time"), "lat": ("lat", "latitude"), "lon": ("lon", "longitude")}


class NpzFile(FieldFile):
    """An ``.npz`` of fields. Its arrays are held in memory.

    Args:
        path: the file: ``time`` (T,) in seconds since 1970 or as dates of NumPy, ``lat`` (H,), ``lon`` (W,), and an
            array (T, H, W) of each variable.
        wanted: the channels; None: every such array.

    Raises:
        DataError: an array is missing, or of another shape or type.
    """

    def __init__(self, path: Path, wanted: Sequence[str] | None) -> None:
        self.source = path
        names = array_names(path)
        places = {role: next((name for name in usual if name in names), None) for role, usual in NAMES.items()}
        for role, name in places.items():
            if name is None:
                raise DataError(
                    f"{path}: it has no array {' or '.join(map(repr, NAMES[role]))}, only {', '.join(names[:6])}"
                )
        time, self.latitudes, self.longitudes = (read_array(path / str(name)) for name in places.values())
        self.times = _seconds(time, path)
        shape = (len(self.times), len(self.latitudes), len(self.longitudes))
        others = [name for name in names if name not in places.values()]
        found = [name for name in others if wanted is None or name in wanted]
        self._arrays: dict[str, FieldArray] = {}
        for name in found:
            array = read_array(path / name)
            if array.shape != shape or array.dtype.kind not in "fiu":
                raise DataError(f"{path / name}: {array.dtype} of {array.shape}, and numbers of {shape} are read")
            self._arrays[name] = array.astype(np.float32, copy=False)
        if not found:
            asked = ", ".join(wanted or ())
            raise DataError(
                f"{path}: it has none of the variables {asked}, only {', '.join(others)}{closest(asked, others)}"
            )
        self.channels = tuple(name for name in wanted or found if name in found)
        self.units = tuple(unit_of(name, "") for name in self.channels)

    def read(self, first: int, last: int) -> FieldArray:
        """Return consecutive states."""
        return np.stack([self._arrays[name][first:last] for name in self.channels], axis=1)


def _seconds(time: np.ndarray[tuple[int, ...], np.dtype[np.generic]], path: Path) -> Times:
    if time.ndim != 1 or time.dtype.kind not in "iuM":
        raise DataError(f"{path}: its times are {time.dtype}; whole seconds since 1970 and dates of NumPy are read")
    return time.astype("datetime64[s]").astype(np.int64) if time.dtype.kind == "M" else time.astype(np.int64)
