"""Times of records: as seconds, how long ago, and how long something takes, in words. No torch."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

_UNITS: tuple[tuple[str, float], ...] = (
    ("s", 1),
    ("min", 60),
    ("h", 3600),
    ("d", 86400),
    ("weeks", 7 * 86400),
    ("years", 365.25 * 86400),
)


def seconds_of(text: Any) -> float | None:
    """Return a recorded time (ISO 8601) as seconds since the epoch; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):  # no date, or one beyond what the platform counts
        return None


def age(seconds: float | None) -> str:
    """Return a time that has passed as ``12 s``, ``5 min``, ``3 h``, ``2 d``, ``6 weeks``; a dash if not known.

    A unit is used from two of it on (minutes from one), so that little is lost by rounding down.
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    past = max(0.0, seconds)
    unit, size = _UNITS[0]
    for word, length in _UNITS[1:]:
        if past >= (2 if length > 60 else 1) * length:
            unit, size = word, length
    return f"{int(past // size)} {unit}"


def duration(seconds: float | None) -> str:
    """Return a time as ``4.2 s``, ``12 s``, ``3:20`` (minutes), ``1:02:03`` (hours) or ``2 d 3 h``; a dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = round(max(seconds, 0))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 10:
        return f"{max(seconds, 0):.1f} s"
    if whole < 60:
        return f"{whole} s"
    if not hours:
        return f"{minutes}:{whole % 60:02d}"
    if days < 2:
        return f"{hours}:{minutes % 60:02d}:{whole % 60:02d}"
    return f"{days} d {hours % 24} h"
