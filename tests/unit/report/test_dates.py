"""Times of records."""

from __future__ import annotations

import math

import pytest

from lab.report.dates import age, duration, seconds_of


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (47 * 3600, "47 h"),
        (48 * 3600, "2 d"),
        (13 * 86400, "13 d"),
        (14 * 86400, "2 weeks"),
        (3 * 365.25 * 86400, "3 years"),
        (-5, "0 s"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_age(seconds: float | None, words: str) -> None:
    assert age(seconds) == words


def test_seconds() -> None:
    assert seconds_of("1970-01-01T00:01:00+00:00") == 60
    for text in (None, 5, "", "yesterday", "0001-01-01T00:00:00", "9999-12-31T23:59:59"):
        found = seconds_of(text)
        assert found is None or math.isfinite(found)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (-3, "0.0 s"),
        (4.24, "4.2 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (200, "3:20"),
        (3723, "1:02:03"),
        (2 * 86400 + 3 * 3600 + 5, "2 d 3 h"),
    ],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected
