"""Curves thinned without losing an outlier, packed so that equal arrays are stored once, JSON that ends no script."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from lab.report.html.encoding import MOST_POINTS, as_script, page_data, thinned
from lab.report.html.page import Entry, Page, Series


def series(values: np.ndarray) -> Series:
    return Series(np.arange(1.0, len(values) + 1), values)


@pytest.mark.parametrize("count", [1, 2, 39, 40, 41, 100, 12_345])
def test_a_thinned_curve_keeps_its_ends_and_extremes(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    found = thinned(series(values), 40)
    assert len(found) == min(count, len(found))
    assert len(found) <= 40
    assert (found.steps[0], found.steps[-1]) == (1, count)
    assert (found.values.min(), found.values.max()) == (values.min(), values.max())
    assert (np.diff(found.steps) > 0).all()
    assert (values[found.steps.astype(int) - 1] == found.values).all()  # points of the curve, none is made up


def test_each_part_keeps_its_lowest_and_highest_value() -> None:
    """By hand: 2 parts of 5 between the ends, each with its least and greatest value."""
    values = np.array([0.0, 5, 1, 9, 3, 4, 7, 6, 2, 8, 7, 0])
    found = thinned(series(values), 6)
    assert found.values.tolist() == [0, 1, 9, 2, 8, 0]
    assert found.steps.tolist() == [1, 3, 4, 9, 10, 12]


def test_what_is_not_defined_is_not_chosen() -> None:
    values = np.array([1.0, np.nan, 5, np.nan, np.nan, 2, 3, np.nan, 1])
    found = thinned(series(values), 6)
    assert {5.0, 2.0, 3.0} <= set(found.values.tolist())


def unpacked(text: str) -> list[float]:
    return np.frombuffer(base64.b64decode(text), "<f4").tolist()


def entry(name: str, curves: dict[str, Series]) -> Entry:
    return Entry(name, name, Path(name), "finished", series=curves)


def test_equal_steps_are_stored_once() -> None:
    steps = np.array([10.0, 20.0, 30.0])
    runs = [
        entry(name, {"val/map": Series(steps, np.array([value, 0.5, 0.75]))})
        for name, value in (("a", 0.0), ("b", 0.25))
    ]
    data = page_data(Page("t", "runs", "now", runs))
    (first, second) = data["curves"]["val/map"]
    assert (first[0], second[0]) == (0, 1)
    assert first[1] == second[1]
    assert unpacked(data["pool"][first[1]]) == [10, 20, 30]
    assert unpacked(data["pool"][second[2]]) == [0.25, 0.5, 0.75]
    assert len(data["pool"]) == 3
    assert data["thinned"] is None


def test_many_long_curves_stay_small() -> None:
    """400 runs of 20 metrics with 5,000 points each would be 320 MB."""
    values = np.random.default_rng(0).normal(size=(20, 5_000))
    curves = {f"m/{place}": series(row) for place, row in enumerate(values)}
    data = page_data(Page("t", "runs", "now", [entry(str(number), curves) for number in range(400)]))
    longest, most = data["thinned"]
    assert longest == 5_000
    assert most == MOST_POINTS // 8_000
    # Here all runs are equal and stored once; as many different ones would take this many bytes.
    size = sum(len(text) for text in data["pool"]) * 400
    assert size < 12e6


def test_numbers_that_json_lacks_become_null() -> None:
    runs = [Entry("a", "a", Path("a"), "finished", result={"val/map": float("nan")}, values={"lr": float("inf")})]
    data = page_data(Page("t", "runs", "now", runs))
    assert json.loads(as_script(data))["runs"][0]["result"] == {"val/map": None}


def test_no_text_ends_the_script_element() -> None:
    text = as_script({"name": "</script><script>alert(1)</script><!--", "other": "a&b"})
    assert not set("<>&") & set(text)
    assert json.loads(text)["name"] == "</script><script>alert(1)</script><!--"
