"""Checks of arrays of fields: shapes and values, each refused by one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lab.errors import DataError


def require_numbers(array: npt.NDArray[Any], where: str) -> None:
    """Refuse an array of anything but numbers, or with values that are not finite.

    Args:
        array: of any shape.
        where: the file and the name of the array, for the message.

    Raises:
        DataError: see above; it says how many values, and where the first is.
    """
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where}: its values are {array.dtype}, and fields are numbers")
    if array.size == 0:
        raise DataError(f"{where}: its shape is {array.shape}, it holds nothing")
    if array.dtype.kind != "f":
        return
    wrong = ~np.isfinite(array)
    if wrong.any():
        first = tuple(int(place) for place in np.unravel_index(int(wrong.argmax()), array.shape))
        raise DataError(
            f"{where}: {int(wrong.sum())} of {array.size} values are not finite (NaN or infinite), the first at "
            f"{first}; leave these samples out, or fill them"
        )
