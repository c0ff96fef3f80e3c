"""Converts times of events to seconds since 1970, and checks that they are plausible in the stated unit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.errors import ConfigError, DataError, closest

Seconds = NDArray[np.float64]

UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
_EARLY, _LATE = 631152000.0, 4102444800.0  # 1990 and 2100: when events are recorded
_BEYOND = 9223372036.0  # 2262, where nanoseconds in 64 bits end
_FEBRUARY = 46 * 86400.0  # milliseconds of 2100, had they been seconds, lie before 1970-02-17


def check_time_format(time_format: str, where: str = "data") -> None:
    """Check that a format is a unit, ``"iso"`` or a pattern of ``strptime``.

    Raises:
        ConfigError: it is none of these.
    """
    if time_format in UNITS or time_format == "iso" or "%" in time_format:
        return
    known = [*UNITS, "iso"]
    raise ConfigError(
        f"{where}.time_format={time_format!r} is neither {', '.join(known)} nor a pattern such as '%Y-%m-%d %H:%M:%S'"
        f"{closest(time_format, known)}"
    )


def seconds_of(column: Any, time_format: str) -> Seconds:
    """Return seconds, NaN where a time cannot be read.

    Args:
        column: a pyarrow column; for timestamps and dates ``time_format`` is ignored.
        time_format: a unit, ``"iso"`` or a pattern.
    """
    import pyarrow
    from pyarrow import types

    if types.is_date(column.type):
        column = column.cast(pyarrow.timestamp("ms"))
    if types.is_timestamp(column.type):
        return _of_stamps(column)
    if time_format in UNITS:
        return _numbers(column) * UNITS[time_format]
    text = column.cast(pyarrow.string())
    if time_format == "iso":
        for kind in (pyarrow.timestamp("us", "UTC"), pyarrow.timestamp("us")):
            try:
                return _of_stamps(text.cast(kind))
            except pyarrow.ArrowInvalid:
                continue
    return _parsed(text, "ISO8601" if time_format == "iso" else time_format)


def _of_stamps(column: Any) -> Seconds:
    import pyarrow

    scale = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    values = column.cast(pyarrow.int64()).fill_null(0).to_numpy() / scale
    return np.where(column.is_null().to_numpy(), np.nan, values)


def _numbers(column: Any) -> Seconds:
    import pandas
    import pyarrow
    from pyarrow import types

    if types.is_string(column.type) or types.is_large_string(column.type):
        try:
            column = column.cast(pyarrow.float64())
        except pyarrow.ArrowInvalid:
            values: Seconds = pandas.to_numeric(column.to_pandas(), errors="coerce").to_numpy(dtype=np.float64)
            return values
    try:
        numbers = column.cast(pyarrow.float64(), safe=False)
    except pyarrow.ArrowInvalid:  # pyarrow.ArrowNotImplementedError is one of these too
        return np.full(len(column), np.nan)
    return np.asarray(numbers.to_numpy(), dtype=np.float64)


def _parsed(text: Any, pattern: str) -> Seconds:
    """Parse timestamps with pandas; those outside of 1678 to 2262 are parsed separately, in microseconds."""
    import pandas

    values = text.to_pandas()
    try:
        stamps = pandas.to_datetime(values, errors="coerce", utc=True, format=pattern)
    except ValueError as error:
        raise ConfigError(f"data.time_format={pattern!r}: {error}") from error
    seconds = _of_pandas(stamps)
    missed = np.isnan(seconds)
    if missed.any() and not missed.all():
        seconds[missed] = _of_pandas(pandas.to_datetime(values[missed], errors="coerce", utc=True, format=pattern))
    return seconds


def _of_pandas(stamps: Any) -> Seconds:
    values = stamps.to_numpy()
    if values.dtype.kind != "M":
        values = stamps.dt.tz_localize(None).to_numpy()
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[np.datetime_data(values.dtype)[0]]
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / scale)


def odd_times(times: Seconds, time_format: str, path: object, where: str = "data") -> dict[str, int]:
    """Return remarks on suspicious times, each with the number of rows.

    Args:
        times: seconds, none of them NaN.
        time_format: the stated unit.
        path: the file, for messages.
        where: the config group that names the columns, for messages.

    Raises:
        DataError: the times lie in recent years in another unit, but not in the stated one.
    """
    first, last = float(times.min()), float(times.max())
    # zeros for unknown times, or a stray year 9999, do not hide a wrong unit
    low, middle = map(float, np.quantile(times, (0.05, 0.5), method="nearest"))
    if time_format in UNITS and (middle > _BEYOND or 0 <= middle < _FEBRUARY):
        for unit, scale in UNITS.items():
            factor = scale / UNITS[time_format]
            # times counted from a start begin near 0, and so does their lowest twentieth
            if (
                unit != time_format
                and (low if middle < _FEBRUARY else middle) * factor >= _EARLY
                and (middle * factor <= _LATE)
            ):
                raise DataError(
                    f"{path}: under {where}.time_format={time_format} its times are {span(first, last)}; as {unit} "
                    f"they are {span(first * factor, last * factor)}: set {where}.time_format={unit}"
                )
    odd = {
        f"with a time after 2100, up to {day(last)}: is the unit right?": int((times > _LATE).sum()),
        f"with a time before 1970, from {day(first)}": int((times < 0).sum()),
    }
    if first == last:
        odd["all with one and the same time: the order of the lines decides"] = len(times) if len(times) > 1 else 0
    if first >= 0 and last < _FEBRUARY:
        odd["with a time in January or February 1970: is the unit right, or do they count from a start?"] = len(times)
    return {what: count for what, count in odd.items() if count}


def span(first: float, last: float) -> str:
    """Return ``"2014-04-01 to 2014-09-30"``."""
    return f"{day(first)} to {day(last)}"


def day(seconds: float) -> str:
    """Return the date of a time, of any year."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).date().isoformat()
    except OverflowError:
        return f"the year {year(seconds)}"


def year(seconds: float) -> str:
    """Return the year of any time as text."""
    number = 1970 + seconds // 31556952
    return f"{number:.0f}" if abs(number) < 1e12 else f"{number:.3g}"
