"""The interface of files of fields with dates, the names of their channels and units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lab.errors import DataError

FieldArray = npt.NDArray[np.float32]
Times = npt.NDArray[np.int64]
StateNumbers = npt.NDArray[np.int64]

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
