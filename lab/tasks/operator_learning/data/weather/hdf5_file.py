"""A year of FourCastNet's HDF5 files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.checking import check_file
from lab.errors import DataError
from lab.tasks.operator_learning.data.weather.files import FieldArray, FieldFile, unit_of

FIELDS = "fields"


class YearFile(FieldFile):
    """``fields`` (T, C, H, W) of the year in the file's name, from 1 January, from 90 degrees north and 0 degrees east.

    Rows are 180 / (H - 1) degrees apart; of an even H they are 180 / H, as the last one, the south pole, is missing.

    Args:
        path: the file.
        names: of all its channels, in their order; a file may have further ones.
        wanted: the channels to read, of these.
        hours: between two states.

    Raises:
        DataError: it cannot be read, has no such array, fewer channels, or no year in its name; or h5py is missing.
    """

    def __init__(self, path: Path, names: Sequence[str], wanted: Sequence[str], hours: float) -> None:
        self.source = path
        self._opened: tuple[int, Any] | None = None
        check_file(path, may_be_empty=False)
        year = re.search(r"(?<!\d)(1[89]|20|21)\d\d(?!\d)", path.stem)
        if year is None:
            raise DataError(f"{path}: its name has no year, as 1979.h5 has")
        shape = self._fields().shape
        if len(shape) != 4 or not all(shape):
            raise DataError(f"{path}: {FIELDS!r} is {shape}, and (times, channels, latitudes, longitudes) is read")
        if shape[1] < len(names):
            raise DataError(f"{path}: {FIELDS!r} has {shape[1]} channels, and data.channels names {len(names)}")
        self.channels = tuple(wanted)
        self._places = [list(names).index(name) for name in wanted]
        self.units = tuple(unit_of(name if name in SURFACE else name.rstrip("0123456789"), "") for name in wanted)
        start = int(np.datetime64(year[0], "s").astype(np.int64))
        self.times = start + (np.arange(shape[0]) * hours * 3600).astype(np.int64)
        spacing = 180 / (shape[2] - shape[2] % 2) if shape[2] > 1 else 0.0
        self.latitudes = 90 - spacing * np.arange(shape[2])
        self.longitudes = 360 / shape[3] * np.arange(shape[3])

    def read(self, first: int, last: int) -> FieldArray:
        """Return consecutive states."""
        try:
            fields = self._fields()
            if self._places == list(range(len(self._places))):
                return np.asarray(fields[first:last, : len(self._places)], dtype=np.float32)
            rising = sorted(self._places)
            back = [rising.index(place) for place in self._places]
            return np.asarray(fields[first:last, rising], dtype=np.float32)[:, back]
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"{self.source} cannot be read: {' '.join(str(error).split())[:200]}") from error

    def _fields(self) -> Any:
        """Return the array in the file; each process opens its own, as handles of HDF5 do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), self._open())
        return self._opened[1]

    def _open(self) -> Any:
        try:
            import h5py
        except ImportError as error:
            raise DataError(f"{self.source}: reading it needs h5py (pip install 'lab[fields]'): {error}") from error
        try:
            file = h5py.File(self.source, "r")
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.source} cannot be read: {' '.join(str(error).split())[:200]}") from error
        found = file.get(FIELDS)
        if not isinstance(found, h5py.Dataset):
            raise DataError(f"{self.source}: it has no array {FIELDS!r}, only {', '.join(file) or 'nothing'}")
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the open file, for another process."""
        return {**self.__dict__, "_opened": None}


SURFACE = frozenset({"u10", "v10", "t2m", "d2m", "u100", "v100"})
"""Names whose digits are heights in metres; other digits are levels."""
