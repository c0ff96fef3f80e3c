"""Counters of what a data set holds: numbers are those of numpy, and nothing that was not looked at is 0."""

from __future__ import annotations

import numpy as np
import pytest

from lab.report.sanity import (
    CHECKS,
    NOT_LOOKED_AT,
    OUTLIERS,
    NumberColumn,
    SanityReport,
    SplitLook,
)
from lab.report.sanity_tables import bar, class_rows, example_rows, finding_rows, number_rows


def look_of(split: str = "train", samples: int = 4, read: int = 4) -> SplitLook:
    return SplitLook(split, "image", samples, read)


def test_a_summary_is_numpys() -> None:
    values = np.random.default_rng(0).lognormal(size=500)
    numbers = NumberColumn()
    numbers.extend(values[:200])
    numbers.add(*values[200:].tolist(), float("nan"))
    found = numbers.summary()
    assert len(numbers) == 501
    expected = [values.min(), *np.quantile(values, (0.05, 0.5))]
    assert [found["min"], found["5 %"], found["median"]] == pytest.approx(expected)
    assert [found["mean"], found["max"]] == pytest.approx([values.mean(), values.max()])
    assert sum(count for _, count in numbers.bars()) == 500


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], []),
        ([3.0, 3.0], [("3", 2)]),
        ([1, 2, 2, 5], [("1", 1), ("2", 2), ("5", 1)]),
    ],
)
def test_few_whole_numbers_have_a_bar_each(values: list[float], bars: list[tuple[str, int]]) -> None:
    numbers = NumberColumn()
    numbers.add(*values)
    assert numbers.bars() == bars


def test_bars_of_whole_numbers_say_what_they_hold() -> None:
    numbers = NumberColumn()
    numbers.add(*range(100))
    bars = numbers.bars()
    assert bars[0][0] == "0 to 7"
    assert bars[-1][0].endswith(" to 99")
    assert sum(count for _, count in bars) == 100


def test_numbers_of_a_wide_range_have_bars_of_even_ratios() -> None:
    numbers = NumberColumn()
    numbers.add(0.01, 0.02, 1.0, 100.0)
    names = [name for name, _ in numbers.bars()]
    assert names[0] == "0.01 to 0.0215"


def test_a_check_that_was_not_made_is_no_zero() -> None:
    look = look_of()
    look.skipped["near duplicates"] = "of images only"
    look.watch(OUTLIERS, "tiny boxes")
    assert look.to_plain()["findings"]["tiny boxes"]["count"] == 0
    assert look.not_looked_at() == {
        "class balance": "",
        "sizes": "",
        "exact duplicates": "",
        "near duplicates": "of images only",
        "damaged": "",
    }
    rows = {row[""]: row["train"] for row in finding_rows(SanityReport("x", "y", [look]))}
    assert rows["tiny boxes"] == "0"
    assert rows["near duplicates (of images only)"] == NOT_LOOKED_AT


def test_every_check_is_made_or_said() -> None:
    look = look_of()
    look.count_class("cat")
    look.number("width", 3)
    for check in CHECKS[2:]:
        look.watch(check, f"of {check}")
    assert look.not_looked_at() == {}


def test_findings_keep_a_few_names_and_no_control_characters() -> None:
    look = look_of()
    look.watch(OUTLIERS, "odd")
    for number in range(9):
        look.find("odd", f"image{number}\x1b[31m")
    report = SanityReport("x", "y", [look])
    (row,) = example_rows(report)
    assert row["count"] == "9"
    assert row["first"].count("image") == 5
    assert "\x1b" not in row["first"]


def test_a_split_that_was_read_in_part_says_so() -> None:
    rows = finding_rows(SanityReport("x", "y", [look_of("train", 1000, 10), look_of("val", 4, 4)]))
    assert rows[1] == {"": "read", "train": "10", "val": "all"}


def test_classes_are_sorted_and_the_rarest_are_kept() -> None:
    look = look_of()
    look.classes = {f"class{number}": number for number in range(100)}
    rows = class_rows(SanityReport("x", "y", [look]), most=10)
    assert rows[0]["class"] == "class99"
    assert rows[5]["class"] == "(90 more)"
    assert rows[-1]["class"] == "class0"
    assert rows[-1]["train"] == "0"


@pytest.mark.parametrize(("share", "shown"), [(0, ""), (1, "████"), (0.5, "██"), (0.001, "▏"), (0.28125, "█▏")])
def test_a_bar(share: float, shown: str) -> None:
    assert bar(share, 4) == shown


def test_grids_hold_every_pair_once() -> None:
    look = look_of()
    for width, height in ((10, 20), (10, 20), (640, 480), (30, 1000)):
        look.pair("size", width, height)
    grid = look.grids()["size"]
    assert sum(map(sum, grid.counts)) == 4
    assert max(map(max, grid.counts)) == 2
    same = look_of()
    same.pair("size", 64, 64)
    assert same.grids() == {}


def test_sizes_of_one_name_stand_together() -> None:
    looks = [look_of("train"), look_of("val")]
    for look in looks:
        look.number("width", 1, 2)
        look.number("height", 5)
    assert [row["what"] for row in number_rows(SanityReport("x", "y", looks))] == ["height"] * 2 + ["width"] * 2
